"""Cameras, point rasterisers and mesh ray casting."""
