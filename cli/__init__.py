"""The `pegasus` command: parse, call, print. No logic."""
