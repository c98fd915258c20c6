"""The avatar model: points bound to a rig, codes, shading, losses, the fitting loop."""
