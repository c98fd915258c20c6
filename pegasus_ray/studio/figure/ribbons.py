"""Ribbons: the flat bands of hair that paths are meshed as.

Legend: R ribbons, P points along one, N = R · 2P vertices.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.figure.piece import Material, Piece, grid_faces, unit
from pegasus_ray.studio.figure.roots import Roots
from pegasus_ray.studio.figure.skull import Skull, outward_directions
from pegasus_ray.studio.noise import smoothstep

TAPER_METRES: Final = 0.045  # length of the ends over which hair thins out


def mesh_ribbons(
    width: float,  # metres
    skull: Skull,
    roots: Roots,
    paths: Floats,  # (R, P, 3) metres, rest space
    material: Material,
) -> Piece:
    """Flat bands along paths that face away from the head and narrow towards their ends."""
    count, points, _ = paths.shape
    flat = paths.reshape(-1, 3)
    tangents = unit(np.gradient(paths, axis=1)).reshape(-1, 3)
    normals = outward_directions(flat)
    across = unit(np.cross(tangents, normals))
    along = _place_along(paths).reshape(-1)
    half = 0.5 * width * (1 - 0.55 * smoothstep(0.60, 1.0, along)) * (0.6 + 0.4 * smoothstep(0, 0.15, along))
    both = np.stack([flat - half[:, None] * across, flat + half[:, None] * across], 1).reshape(-1, 3).astype(np.float32)
    number = np.repeat(np.arange(count), points)
    coordinates = np.stack([np.tile([-1.0, 1.0], len(flat)), np.repeat(along, 2), np.repeat(number, 2)], 1)
    cell = grid_faces(points, 2)
    faces = (cell[None] + (np.arange(count) * 2 * points)[:, None, None]).reshape(-1, 3)
    return Piece(
        material=material,
        points=both,
        normals=np.repeat(normals, 2, 0),
        tangents=np.repeat(tangents, 2, 0),
        coordinates=coordinates.astype(np.float32),
        triangles=roots.triangles,
        barycentric=roots.barycentric,
        weights=skull.hanging_weights(both),
        faces=faces,
        half_width=0.5 * width,
    )


def _place_along(paths: Floats) -> Floats:
    """0 at the roots of paths (R, P, 3), 0.7 where the taper begins, 1 at the tips, (R, P).

    Short hair tapers over its last 30 %, so that all of it is not taper.
    """
    place = np.linspace(0, 1, paths.shape[1], dtype=np.float32)[None]
    length = np.linalg.norm(np.diff(paths, axis=1), axis=2).sum(1, keepdims=True)
    taper = np.minimum(TAPER_METRES / np.maximum(length, 1e-6), 0.3)
    body = 0.7 * place / (1 - taper)
    return np.asarray(np.where(place < 1 - taper, body, 0.7 + 0.3 * (place - 1 + taper) / taper), dtype=np.float32)
