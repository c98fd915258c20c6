"""Ray casting of triangle meshes by Embree: what a camera sees first, and what stands in a ray's way.

Legend: V vertices, F faces, R rays, S side of the picture in pixels, times the supersampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from pegasus_ray.render.camera import Camera
from pegasus_ray.schemas.errors import PegasusError, Reason

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """What the ray through each pixel's centre meets first."""

    triangle: Integers  # (S, S), −1 where there is nothing
    barycentric: Floats  # (S, S, 3) weights of the triangle's vertices; zero where there is nothing
    depth: Floats  # (S, S) metres along the camera's axis, infinite where there is nothing
    position: Floats  # (S, S, 3) metres in camera space; zero where there is nothing

    @property
    def hit(self) -> Bools:
        """(S, S) whether there is anything."""
        return np.asarray(self.triangle >= 0)

    def interpolate(
        self,
        values: npt.NDArray[np.floating],  # (V, C) of each vertex
        faces: npt.NDArray[np.integer],  # (F, 3)
    ) -> Floats:
        """A quantity of the vertices where the rays hit, (S, S, C); zero where there is nothing."""
        corners = values.astype(np.float32)[faces[np.maximum(self.triangle, 0)]]  # (S, S, 3, C)
        return np.asarray(np.einsum("yxk,yxkc->yxc", self.barycentric, corners), dtype=np.float32)


class MeshTracer:
    """A mesh that rays can be cast at, as often as wanted.

    Args:
        vertices: (V, 3) metres in camera space: x right, y down, z forward.
        faces: (F, 3) numbers of vertices; both sides of a face are hit.

    Raises:
        PegasusError: BAD_CONFIG for arrays of another shape, or faces of vertices that there are not.
    """

    def __init__(self, vertices: npt.NDArray[np.floating], faces: npt.NDArray[np.integer]) -> None:
        shapes = vertices.ndim == 2 and faces.ndim == 2 and vertices.shape[1] == faces.shape[1] == 3
        if not shapes or (faces.size and not 0 <= faces.min() <= faces.max() < len(vertices)):
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

    def first_hits(self, camera: Camera, size: int, supersample: int = 1) -> Hits:
        """What a camera of one frame sees at each pixel's centre.

        Args:
            camera: of one frame.
            size: side of the picture in pixels.
            supersample: rays along each side of a pixel. The hits come at that finer resolution; shade them, then take
                means of blocks (`pegasus_ray.render.images.shrink`).

        Returns:
            Hits of side `size · supersample`.
        """
        side = size * supersample
        focal, (centre_x, centre_y) = float(camera.focal[0]), camera.centre[0].tolist()
        along = (np.arange(side, dtype=np.float32) + 0.5) / side
        directions = np.ones((side, side, 3), dtype=np.float32)
        directions[..., 0] = (along - centre_x) / focal
        directions[..., 1] = ((along - centre_y) / focal)[:, None]
        # z is 1 in every direction, so a ray's parameter is the depth.
        rays = directions.reshape(-1, 3)
        triangle, barycentric, depth = self.first_along(np.zeros_like(rays), rays)
        return Hits(
            triangle=triangle.reshape(side, side),
            barycentric=barycentric.reshape(side, side, 3),
            depth=depth.reshape(side, side),
            position=(rays * np.where(triangle >= 0, depth, 0)[:, None]).reshape(side, side, 3),
        )

    def first_along(
        self,
        origins: npt.NDArray[np.floating],  # (R, 3) metres
        directions: npt.NDArray[np.floating],  # (R, 3)
    ) -> tuple[Integers, Floats, Floats]:
        """What each ray meets first: triangle (R,), barycentric (R, 3), distance (R,) in lengths of the direction.

        Where there is nothing they are −1, zero and infinite.
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
        """Whether anything lies on each ray nearer than `far`, (R,).

        Origins on the surface must first be lifted off it along its normal (1e-4 m serves a head), or they meet themselves.
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
