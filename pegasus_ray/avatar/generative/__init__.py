"""Generative avatars: one person under latent codes, one block per attribute."""
