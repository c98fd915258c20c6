"""Pieces that no expression moves: hats and glasses.

Legend: N vertices of a piece, M its faces.
"""

from __future__ import annotations

import numpy as np

from pegasus_ray.studio.arrays import Floats, Ints
from pegasus_ray.studio.figure.piece import Material, Piece, vertex_normals
from pegasus_ray.studio.figure.skull import Skull


def rigid_piece(
    skull: Skull,
    material: Material,
    points: Floats,  # (N, 3) metres, rest space
    faces: Ints,  # (M, 3)
    coordinates: Floats | None = None,  # (N, 3) `Piece.coordinates`; zero where not given
) -> Piece:
    """A piece that moves with the head alone: it is bound to the crown, where no expression moves the skin."""
    crown, shares = skull.crown()
    return Piece(
        material=material,
        points=points,
        normals=vertex_normals(points, faces),
        tangents=np.zeros_like(points),
        coordinates=np.zeros_like(points) if coordinates is None else coordinates,
        triangles=crown,
        barycentric=shares,
        weights=skull.head_weights(len(points)),
        faces=faces,
    )
