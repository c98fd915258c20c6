"""The bun of tied hair: where the hair is gathered, and the ball of loops around that place.

Legend: R ribbons, P points along one.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.figure.piece import unit
from pegasus_ray.studio.figure.roots import Roots
from pegasus_ray.studio.figure.skull import Skull

KNOT_HEIGHT_METRES: Final = 0.015  # above the eyes
BUN_RADIUS_METRES: Final = 0.034


def knot(skull: Skull) -> Floats:
    """Where tied hair is gathered, (3,): just off the back of the head."""
    behind = np.array([[0.0, KNOT_HEIGHT_METRES, -0.30]], np.float32)
    return np.asarray(behind[0] + [0, 0, skull.distance(behind)[0][0] - 0.020], dtype=np.float32)


def tie_bun(
    skull: Skull,
    roots: Roots,
    paths: Floats,  # (R, P, 3) metres, rest space
    rng: np.random.Generator,
) -> tuple[Roots, Floats]:
    """Ribbons cut off where they reach the bun, and a quarter as many loops wound to a ball; other ribbons are left out."""
    count, points, _ = paths.shape
    gathered = knot(skull)
    reached = np.linalg.norm(paths - gathered, axis=2) < 0.8 * BUN_RADIUS_METRES
    held = np.flatnonzero(reached.any(1))
    until = np.minimum(np.arange(points)[None], np.maximum(reached[held].argmax(1), 1)[:, None])
    loops = count // 4
    near, shares = skull.anchor(np.repeat(gathered[None], loops, 0))
    tied = Roots(
        triangles=np.concatenate([roots.triangles[held], near]),
        barycentric=np.concatenate([roots.barycentric[held], shares]),
        template=np.concatenate(
            [roots.template[held], skull.rig.template.numpy()[skull.rig.faces.numpy()[near]].mean(1)]
        ),
    )
    return tied, np.concatenate([paths[held[:, None], until], _loops(gathered, loops, points, rng)])


def _loops(gathered: Floats, count: int, points: int, rng: np.random.Generator) -> Floats:
    """Paths (count, points, 3) of hair wound on a sphere, each around a pole of its own that points roughly backwards."""
    centre = gathered + np.array([0, 0.004, -0.006], np.float32)
    pole = unit(np.array([0, 0.25, -1.0], np.float32) + 0.35 * rng.standard_normal((count, 3)).astype(np.float32))
    aside = unit(np.cross(pole, rng.standard_normal((count, 3)).astype(np.float32)))
    other = np.cross(pole, aside)
    angle = np.linspace(0, 1, points)[None] * rng.uniform(1.5, 3.5, (count, 1))
    level = rng.uniform(-0.95, 0.95, (count, 1))
    ring = np.sqrt(1 - level**2)
    radius = (BUN_RADIUS_METRES * rng.uniform(0.75, 1.03, count))[:, None, None]
    ball = ring[..., None] * (np.cos(angle)[..., None] * aside[:, None] + np.sin(angle)[..., None] * other[:, None])
    wound = centre + radius * (ball + level[..., None] * pole[:, None])
    return np.asarray(wound, dtype=np.float32)
