"""Avatars as files: safetensors and a checked config.json."""
