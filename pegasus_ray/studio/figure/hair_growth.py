"""Where hair grows on the template: the hairline of the head and the outline of a beard.

The same functions colour the skin and place the roots of strands, so that shaded scalp and stubble lie exactly below the hair.

Legend: N places on the template, in metres.
"""

from __future__ import annotations

import numpy as np

from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.noise import smoothstep


def hairline(places: Floats) -> Floats:
    """How far above the hairline places (N, 3) lie, (N,) metres: low behind the ears, high on the forehead."""
    x, y, z = places[:, 0], places[:, 1], places[:, 2]
    front = np.clip((z + 0.110) / 0.110, -1, 1)
    line = 0.004 + np.where(front > 0, 0.064 * np.clip(front, 0, 1) ** 1.5, 0.085 * front)
    temple = smoothstep(0.15, 0.45, front) * smoothstep(0.050, 0.062, np.abs(x))
    corner = 0.007 * np.exp(-(((np.abs(x) - 0.036) / 0.014) ** 2)) * (front > 0.3)
    return np.asarray(y - line + 0.014 * temple - corner, dtype=np.float32)


def scalp_density(places: Floats) -> Floats:
    """Density of the head's hair at places (N, 3), (N,) 0–1."""
    return smoothstep(-0.004, 0.010, hairline(places))


def beard_density(places: Floats) -> Floats:
    """Density of a beard at places (N, 3), (N,) 0–1: chin, jaw and upper lip."""
    x, y, z = np.abs(places[:, 0]), places[:, 1], places[:, 2]
    top = -0.047 - 0.010 * smoothstep(0.030, 0.014, x) + 0.030 * smoothstep(0.045, 0.068, x)
    jaw = smoothstep(-0.006, 0.010, np.asarray(top - y, dtype=np.float32))
    return np.asarray(jaw * smoothstep(-0.138, -0.114, y) * smoothstep(-0.095, -0.060, z), dtype=np.float32)
