"""Parametric heads: shape, expression and pose to vertices."""
