"""The avatar: points, fields, borrowing, fitting, generative avatars, files."""
