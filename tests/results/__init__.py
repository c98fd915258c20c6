"""Results and the source that they depend on: a lock file, and a tiny run whose payloads are compared."""
