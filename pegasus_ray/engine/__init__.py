"""The engine: Ray actors, Ray Data and Ray Train under the stages, and the same without Ray.

The only room that imports ray.
"""
