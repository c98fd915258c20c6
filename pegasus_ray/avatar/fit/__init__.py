"""Fitting an avatar to the frames of a track: explicit points (preset `fast`) or networks over them (preset `paper`)."""
