"""Avatars shared through a hub or a folder."""
