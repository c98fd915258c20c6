"""Meshes bound to the rig: each vertex moves with a place on the rig's surface.

Legend: N vertices of a piece, M its faces, A places on the rig that it is bound to, V vertices of the rig, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pegasus_ray.studio.arrays import Floats, Ints


class Material(IntEnum):
    """What a face is made of, which decides how it is shaded."""

    SKIN = 0
    EYE = 1
    TEETH = 2
    TONGUE = 3
    LASHES = 4
    HAIR = 5
    CLOTH = 6
    HAT = 7
    BEARD = 8
    FRAME = 9  # of glasses
    LENS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A mesh in rest space on a neutral head, bound to the rig."""

    material: Material
    points: Floats  # (N, 3) metres, rest space, neutral face
    normals: Floats  # (N, 3)
    tangents: Floats  # (N, 3) along the strand; zero where there are no strands
    coordinates: Floats  # (N, 3) for shading; on hair −1…1 across, 0…1 along, number of the ribbon
    triangles: Ints  # (A,) faces of the rig; N / A consecutive vertices are bound to each place
    barycentric: Floats  # (A, 3)
    weights: Floats  # (N, J) skinning weights
    faces: Ints  # (M, 3)
    half_width: float = 1.0  # metres, of a ribbon of hair; not used on other materials


def unit(vectors: Floats) -> Floats:
    """Vectors (..., 3) of length one; zero stays zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(length, 1e-12), dtype=np.float32)


def vertex_normals(
    points: Floats,  # (N, 3)
    faces: Ints,  # (M, 3)
) -> Floats:
    """Unit normals (N, 3); each face counts by its area."""
    a, b, c = (points[faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    count = len(points)
    summed = [np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), count) for axis in range(3)]
    return unit(np.stack(summed, 1).astype(np.float32))


def grid_faces(rows: int, columns: int, *, closed: bool = False) -> Ints:
    """Two triangles for each cell of a grid of vertices numbered row by row; `closed` joins the last column to the first."""
    r = np.arange(rows - 1)[:, None] * columns
    c = np.arange(columns if closed else columns - 1)[None]
    right = (c + 1) % columns
    a, b, d, e = r + c, r + right, r + columns + c, r + columns + right
    return np.stack([np.stack([a, b, e], -1), np.stack([a, e, d], -1)], 2).reshape(-1, 3).astype(np.int64)
