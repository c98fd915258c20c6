"""The networks of the preset `paper`: fields over canonical space for the position, motion and colour of an avatar's points."""
