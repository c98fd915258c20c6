"""Fitting explicit points: the preset `fast` behind the protocol of the fitting loop.

Legend: B frames, N points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates
from pegasus_ray.avatar.fit.densify import grow_points
from pegasus_ray.avatar.fit.learner import ParameterGroups, Truth, leaf
from pegasus_ray.avatar.fit.motion_mask import motion_mask
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering
from pegasus_ray.rig.model import Rig

LEARNED_TENSORS = (
    "offsets", "log_radii", "opacity_logits", "albedo", "position_basis", "colour_basis", "lights",
)  # fmt: skip
"""The explicit avatar's tensors that a fit changes."""

MAX_RADIUS_METRES = 0.02
"""Largest radius of an explicit point."""


class ExplicitLearner:
    """Explicit points: each has its own offset, radius, opacity, albedo and motion."""

    def __init__(self, avatar: Avatar, rig: Rig, config: FitConfig) -> None:
        self.avatar = avatar.with_tensors({name: leaf(getattr(avatar, name)) for name in LEARNED_TENSORS})
        self.rig, self.config = rig, config
        self.anchors = avatar.anchors(rig)
        self.motion_mask = motion_mask(avatar, self.anchors, rig)

    def canonical(self, code: Mapping[str, int]) -> CanonicalPoints:
        """See `Learner`; there is only one code."""
        return self.avatar.canonical(self.anchors)

    def extra_features(self, points: CanonicalPoints) -> Tensor:
        """The offsets from the rig, for `relief_loss`."""
        return self.avatar.offsets

    def loss(self, drawn: Rendering, points: CanonicalPoints, truth: Truth, share: float) -> Tensor:
        """Colours, edges, mask, relief."""
        weights = self.config.weights
        return (
            weights.colour * losses.colour_loss(drawn.image, truth.images)
            + weights.edges * losses.edge_loss(drawn.image, truth.images)
            + weights.square * losses.square_loss(drawn.image, truth.images)
            + weights.mask * losses.mask_loss(drawn.alpha, truth.mattes)
            + weights.relief * losses.relief_loss(drawn.extra, drawn.alpha)
        )

    def parameter_groups(self, rates: LearningRates) -> ParameterGroups:
        """One group per tensor."""
        return [{"params": [getattr(self.avatar, name)], "lr": getattr(rates, name)} for name in LEARNED_TENSORS]

    def add_regulariser_gradients(self) -> None:
        """Add the gradients of the squared norms of offsets and bases in closed form, which saves time and memory.

        The gradients of motion components that a point may not follow (`motion_mask`) are set to zero.
        """
        weights = self.config.weights
        for name, weight in (
            ("offsets", weights.offsets),
            ("position_basis", weights.position_basis),
            ("colour_basis", weights.colour_basis),
        ):
            value = getattr(self.avatar, name)
            if value.grad is not None:
                components = value.shape[0] if value.dim() == 3 else 1
                value.grad.add_(value.detach(), alpha=2 * weight * components / value.numel())
        if self.avatar.position_basis.grad is not None:
            self.avatar.position_basis.grad.mul_(self.motion_mask[..., None])

    def clamp_parameters(self) -> None:
        """Clamp radii to `MAX_RADIUS_METRES`.

        Adam's steps hardly depend on a gradient's size, so points that few frames show would grow without limit.
        """
        with torch.no_grad():
            self.avatar.log_radii.clamp_(max=math.log(MAX_RADIUS_METRES))

    def grow(self, keep: Tensor, gradient_length: Tensor, count: int, generator: torch.Generator) -> Avatar:
        """Clone points where the accumulated gradient is largest."""
        return grow_points(self.avatar.detach().select(keep), gradient_length[keep], count, generator)

    def with_points(self, avatar: Avatar) -> ExplicitLearner:
        """A new learner: nothing is learned besides the points."""
        return ExplicitLearner(avatar, self.rig, self.config)

    def state(self) -> dict[str, Tensor]:
        """Empty: nothing is learned besides the points."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Does nothing: see `state`."""
