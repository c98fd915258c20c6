"""Filming a studio person: ray casting, shading, the frames and their exact truth."""
