"""Neural networks that see one picture at a time: landmarks, mattes, part maps, identity."""
