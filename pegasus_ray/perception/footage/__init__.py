"""A video as pictures of one person: decoding, shots, following one face, cropping, judging frames."""
