"""Ray casting of triangle meshes by Embree: what a ray hits first, and whether it hits anything.

Legend: V vertices, F faces, R rays.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from pegasus_ray.schemas.errors import PegasusError, Reason

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


class MeshTracer:
    """A mesh at which rays are cast.

    Args:
        vertices: (V, 3) metres.
        faces: (F, 3) numbers of vertices; both sides of a face are hit.

    Raises:
        PegasusError: BAD_CONFIG for arrays of another shape, or faces whose vertices do not exist.
    """

    def __init__(self, vertices: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> None:
        of_threes = vertices.ndim == 2 and faces.ndim == 2 and vertices.shape[1] == faces.shape[1] == 3
        if not of_threes or (faces.size and not 0 <= faces.min() <= faces.max() < len(vertices)):
            message = (
                f"vertices {vertices.shape} and faces {faces.shape} must be (V, 3) and (F, 3) of vertices there are"
            )
            raise PegasusError(Reason.BAD_CONFIG, message, subject="mesh")
        self._scene = EmbreeScene()
        if len(faces):
            TriangleMesh(
                self._scene,
                np.ascontiguousarray(vertices, dtype=np.float32),
                np.ascontiguousarray(faces, dtype=np.int32),
            )

    def first_along(
        self,
        origins: npt.NDArray[np.floating],  # (R, 3) metres
        directions: npt.NDArray[np.floating],  # (R, 3)
    ) -> tuple[Integers, Floats, Floats]:
        """What each ray hits first: triangle (R,), barycentric coordinates (R, 3), distance (R,) in lengths of the direction.

        A ray that hits nothing has triangle −1, zero coordinates and infinite distance.
        """
        found = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=True,
        )
        hit = found["primID"] >= 0
        u, v = np.where(hit, found["u"], 0), np.where(hit, found["v"], 0)
        barycentric = np.stack([hit - u - v, u, v], axis=-1).astype(np.float32)
        return found["primID"].astype(np.int32), barycentric, np.where(hit, found["tfar"], np.inf).astype(np.float32)

    def occluded(
        self,
        origins: npt.NDArray[np.floating],  # (R, 3) metres
        directions: npt.NDArray[np.floating],  # (R, 3)
        far: float | npt.NDArray[np.floating] = np.inf,  # one or (R,), in lengths of the direction
    ) -> Bools:
        """Whether each ray hits anything nearer than `far`, (R,).

        Origins on the surface must first be moved off it along its normal (1e-4 m does for a head), or they hit their own face.
        """
        rays = len(origins)
        limit = np.array(np.broadcast_to(np.minimum(far, 1e30), rays), dtype=np.float32)
        met = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            limit,
            query="OCCLUDED",
        )
        return np.asarray(met >= 0)
