"""Procedural people and their talking-head videos, with exact truth."""
