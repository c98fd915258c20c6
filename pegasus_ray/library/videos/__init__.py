"""Where videos come from: files, folders and patterns, buckets, and https addresses with a digest."""
