"""Fitting the rig and the torso to what the networks saw."""
