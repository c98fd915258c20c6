"""The unknowns of a rig that is fitted to a video, and how points on the rig move in the picture with them.

Legend: T frames, N points bound to the rig, K shape axes, E expressions, D = 6 terms of a drift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pegasus_ray.rig.model import Rig, interpolate_on_surface


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
    """Points on the surface of a rig, on the axes of a camera that it faces (x right, y down, z away)."""

    template: Tensor  # (N, 3)
    shape_basis: Tensor  # (K, N, 3)
    expression_basis: Tensor  # (E, N, 3)
    drift: Tensor | None = None  # (D, N, 3) metres, the drift for each of `view_terms`

    @staticmethod
    def of(rig: Rig, triangles: Tensor, barycentric: Tensor, drift: Tensor | None = None) -> BoundPoints:
        """Points given by their triangles and barycentric coordinates.

        Args:
            rig: the rig.
            triangles: numbers of its faces, (N,).
            barycentric: (N, 3).
            drift: how the points move over the skin with the view, (D, N, 3) metres in rig space; see `view_terms`.
        """
        flip = torch.tensor([1.0, -1.0, -1.0])

        def bound(values: Tensor) -> Tensor:
            return interpolate_on_surface(values, rig.faces, triangles, barycentric) * flip

        return BoundPoints(
            template=bound(rig.template),
            shape_basis=bound(rig.shape_basis.transpose(0, 1)).transpose(0, 1),
            expression_basis=bound(rig.expression_basis.transpose(0, 1)).transpose(0, 1),
            drift=None if drift is None else drift * flip,
        )

    def place(self, state: State) -> tuple[Tensor, Tensor]:
        """The points relative to the head's origin, and in camera space, (T, N, 3) metres each."""
        still = self.template + torch.einsum("k,knc->nc", state.shape, self.shape_basis)
        rest = still + torch.einsum("te,enc->tnc", state.expression, self.expression_basis)
        if self.drift is not None:
            rest = rest + torch.einsum("td,dnc->tnc", view_terms(state.rotation, state.translation)[0], self.drift)
        about = rest @ state.rotation.mT
        return about, about + state.translation[:, None]

    def slide(self, state: State) -> Tensor:
        """Derivatives (T, N, 3, 3) of the points' drift, in camera space, by a rotation applied after the head's."""
        if self.drift is None:
            return torch.zeros(1, 1, 3, 3)
        by_view = torch.einsum("tdv,dnc->tncv", view_terms(state.rotation, state.translation)[1], self.drift)
        towards = torch.nn.functional.normalize(-state.translation, dim=1)
        axes = torch.eye(3).expand(len(towards), 3, 3)
        view_by_turn = state.rotation.mT @ torch.linalg.cross(towards[:, :, None].expand_as(axes), axes, dim=1)
        slide: Tensor = state.rotation[:, None] @ by_view @ view_by_turn[:, None]
        return slide


def view_terms(
    rotation: Tensor,  # (T, 3, 3)
    translation: Tensor,  # (T, 3)
) -> tuple[Tensor, Tensor]:
    """Polynomial terms of the direction from which a head is seen, (T, D), and their derivatives by it, (T, D, 3).

    The direction is that towards the camera in the head's axes, (x, y, z): the terms are 1, x, y, x², xy, y².
    """
    towards = torch.nn.functional.normalize(-translation, dim=1)
    side = (rotation.mT @ towards[..., None])[..., 0]
    x, y, _ = side.unbind(1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    terms = torch.stack([one, x, y, x * x, x * y, y * y], 1)
    across = torch.stack([zero, one, zero, 2 * x, y, zero], 1)
    down = torch.stack([zero, zero, one, zero, x, 2 * y], 1)
    return terms, torch.stack([across, down, torch.zeros_like(across)], 2)


def project_with_jacobians(
    about: Tensor,  # (t, N, 3) points relative to the head's origin
    points: Tensor,  # (t, N, 3) in camera space
    state: State,
    unit: Tensor | float,  # how many of the units in which the derivatives are wanted make a side of the picture
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Project points into the picture, with the derivatives of their positions.

    Returns:
        Positions relative to the principal point (t, N, 2), sides; and their derivatives (t, N, 2, 3), in units, by a rotation
        applied after the head's, by a translation, and by a motion in the rig's rest space.
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
