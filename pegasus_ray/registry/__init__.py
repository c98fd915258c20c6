"""Sharing of avatars through a hub or a folder; empty so far."""
