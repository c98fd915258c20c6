"""The explicit avatar: points bound to a rig, how they are shaded and drawn, and the frames that they are driven by."""
