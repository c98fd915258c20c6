"""Model files and sample videos: what there is, under which licence, and fetching it."""
