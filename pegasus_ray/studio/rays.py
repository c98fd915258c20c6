"""Rays from anywhere through a mesh: what `render.mesh` casts from a camera, for rays that slip between strands of hair.

Legend: R rays.
"""

from __future__ import annotations

import numpy as np

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.studio.noise import Floats
from pegasus_ray.studio.piece import Ints


class Rays(MeshTracer):
    """A mesh tracer that also follows single rays."""

    def first(
        self,
        origins: Floats,  # (R, 3) metres
        directions: Floats,  # (R, 3)
    ) -> tuple[Ints, Floats, Floats]:
        """What each ray meets: face (R,) or −1, barycentric (R, 3), distance (R,) in lengths of the direction."""
        found = self._scene.run(
            np.ascontiguousarray(origins, dtype=np.float32),
            np.ascontiguousarray(directions, dtype=np.float32),
            output=True,
        )
        u, v = found["u"], found["v"]
        return found["primID"].astype(np.int64), np.stack([1 - u - v, u, v], 1).astype(np.float32), found["tfar"]
