"""Examinations against known truth, and benchmarks."""
