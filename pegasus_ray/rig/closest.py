"""Nearest points on a mesh.

Legend: N points, V vertices, F faces.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import trimesh
from scipy.spatial import cKDTree

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RIGHT_ANGLE_METRES: Final = 0.004  # a right angle between the normals counts as much as this distance
CANDIDATE_FACES: Final = 24  # faces with the nearest centroids, among which the nearest is sought


class Surface:
    """Some faces of a mesh, searchable for their nearest points."""

    def __init__(
        self,
        vertices: Floats,  # (V, 3)
        faces: Ints,  # (F, 3)
        chosen: npt.NDArray[np.bool_] | None = None,  # (F,) the faces that are searched; all by default
    ) -> None:
        self.chosen = np.arange(len(faces)) if chosen is None else np.flatnonzero(chosen)
        self.corners = vertices[faces[self.chosen]]
        self.normals = face_normals(self.corners)
        self.tree = cKDTree(self.corners.mean(1))

    def nearest(self, points: Floats, normals: Floats | None = None) -> tuple[Ints, Floats, Floats]:
        """Face (N,), barycentric coordinates (N, 3) and distance (N,) of the surface's nearest points to points (N, 3).

        With normals (N, 3), a face with another normal counts as farther away. So where two lips touch, a point of the upper
        one finds the upper one.
        """
        near = self.tree.query(points, k=min(CANDIDATE_FACES, len(self.chosen)))[1].reshape(len(points), -1)
        count = near.shape[1]
        touched = trimesh.triangles.closest_point(self.corners[near.ravel()], np.repeat(points, count, 0))
        distance = np.linalg.norm(touched.reshape(-1, count, 3) - points[:, None], axis=-1)
        cost = distance
        if normals is not None:
            cost = distance + RIGHT_ANGLE_METRES * (1 - (self.normals[near] * normals[:, None]).sum(-1))
        best = cost.argmin(1)
        row = np.arange(len(points))
        face = near[row, best]
        there = touched.reshape(-1, count, 3)[row, best]
        barycentric = np.clip(trimesh.triangles.points_to_barycentric(self.corners[face], there), 0, 1)
        barycentric /= barycentric.sum(1, keepdims=True)
        return self.chosen[face].astype(np.int64), barycentric, distance[row, best]


def face_normals(
    corners: Floats,  # (F, 3, 3)
) -> Floats:
    """Unit normals of faces (F, 3)."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))
