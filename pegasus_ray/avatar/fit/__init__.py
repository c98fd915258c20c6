"""Fitting an avatar to frames: losses, learners, the training loop, checkpoints."""
