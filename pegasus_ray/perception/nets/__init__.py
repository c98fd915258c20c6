"""Networks that look at one picture: landmarks, matte, parts, identity."""
