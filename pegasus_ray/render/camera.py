"""A pinhole camera whose parameters do not depend on the picture's resolution.

Legend: B frames, N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole at the origin of camera space (x right, y down, z forward); lengths are in sides of the square picture."""

    focal: Tensor  # (B,) focal length / side
    centre: Tensor  # (B, 2) principal point / side, x right, y down, from the corner of the first pixel

    @staticmethod
    def of(rows: Tensor) -> Camera:
        """Cameras from rows (B, 3) of a track's column `camera`: focal length, principal point x and y."""
        return Camera(focal=rows[:, 0], centre=rows[:, 1:3])

    def project(self, points: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Points (B, N, 3) in metres to pixels (B, N, 2), pixel centres at +.5, and depths (B, N) in metres.

        Points behind the camera keep their negative depth, by which rasterisers skip them.
        """
        depth = points[..., 2]
        safe = torch.where(depth.abs() < 1e-4, torch.full_like(depth, 1e-4), depth)
        pixels = self.focal[:, None, None] * points[..., :2] / safe[..., None] + self.centre[:, None, :]
        return pixels * size, depth

    def radius(self, radii: Tensor, depth: Tensor, size: int) -> Tensor:
        """Radii in metres, (N,) or (B, N), at depths (B, N) in metres, to pixels (B, N)."""
        return radii * self.focal[:, None] / depth.clamp(min=1e-2) * size
