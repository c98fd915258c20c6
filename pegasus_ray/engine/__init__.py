"""Runs jobs: on Ray (actors, Ray Data, Ray Train), or one after another without Ray.

No other part of the package imports ray.
"""
