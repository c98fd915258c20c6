"""The avatar model: codes, points on the rig, shading, losses, the fitting loop."""
