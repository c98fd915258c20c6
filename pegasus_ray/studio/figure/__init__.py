"""A studio person as meshes: head, hair, clothes, glasses, paint."""
