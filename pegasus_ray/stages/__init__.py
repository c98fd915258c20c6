"""The stages as plain functions, and their settings. No Ray, no library, no command line."""
