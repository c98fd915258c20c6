"""From frames to landmarks, mattes, parts and identity, and the rig fitted to them.

Imports run only downwards: `tracking` > `observe` > `footage` > `nets` > `assets`.
"""
