"""The stages as plain functions: track, fit, swap, personalize, transfer, evaluate. No Ray, no CLI."""
