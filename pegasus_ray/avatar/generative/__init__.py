"""Generative avatars: one person under latent codes, one block of them an attribute."""
