"""The unknowns of a rig that is fitted to a video, and how points on the rig move on the picture with them.

Legend: T frames, N points bound to the rig, K shape axes, E expressions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pegasus_ray.rig.model import Rig, surface


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The unknowns: a pose and an expression a frame, one identity, one focal length."""

    rotation: Tensor  # (T, 3, 3)
    translation: Tensor  # (T, 3)
    expression: Tensor  # (T, E)
    shape: Tensor  # (K,)
    log_focal: float

    def select(self, frames: slice) -> State:
        """The state of some of the frames."""
        return replace(
            self,
            rotation=self.rotation[frames],
            translation=self.translation[frames],
            expression=self.expression[frames],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundPoints:
    """Points on the surface of a rig that looks into the camera (x right, y down)."""

    template: Tensor  # (N, 3)
    shape_basis: Tensor  # (K, N, 3)
    expression_basis: Tensor  # (E, N, 3)

    @staticmethod
    def of(rig: Rig, triangles: Tensor, barycentric: Tensor) -> BoundPoints:
        """Points on faces (N,) at barycentric coordinates (N, 3)."""
        flip = torch.tensor([1.0, -1.0, -1.0])

        def bound(values: Tensor) -> Tensor:
            return surface(values, rig.faces, triangles, barycentric) * flip

        return BoundPoints(
            template=bound(rig.template),
            shape_basis=bound(rig.shape_basis.transpose(0, 1)).transpose(0, 1),
            expression_basis=bound(rig.expression_basis.transpose(0, 1)).transpose(0, 1),
        )

    def place(self, state: State) -> tuple[Tensor, Tensor]:
        """The points about the head's origin and in camera space, (T, N, 3) metres each."""
        still = self.template + torch.einsum("k,knc->nc", state.shape, self.shape_basis)
        rest = still + torch.einsum("te,enc->tnc", state.expression, self.expression_basis)
        about = rest @ state.rotation.mT
        return about, about + state.translation[:, None]


def by_pose(
    about: Tensor,  # (t, N, 3) points about the head's origin
    points: Tensor,  # (t, N, 3) in camera space
    state: State,
    unit: Tensor | float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Places on the picture off the principal point (t, N, 2), sides, and their derivatives (t, N, 2, 3), in `unit`s.

    Derivatives by a rotation after the head's, by a translation, and by a motion in rest space.
    """
    focal = math.exp(state.log_focal)
    depth = points[..., 2].clamp(min=0.05)
    offset = focal * points[..., :2] / depth[..., None]
    zero = torch.zeros_like(depth)
    across = torch.stack([focal / depth, zero, -offset[..., 0] / depth], -1)
    down = torch.stack([zero, focal / depth, -offset[..., 1] / depth], -1)
    project = torch.stack([across, down], 2) * unit
    turn = torch.linalg.cross(about[:, :, None].expand_as(project), project)
    return offset, turn, project, project @ state.rotation[:, None]
