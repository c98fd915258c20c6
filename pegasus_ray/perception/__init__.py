"""From frames to landmarks, mattes, parts and identity, and the rig fitted to them."""
