"""What a fit learns, behind one protocol: explicit points (preset `fast`) or fields over them (preset `paper`).

Legend: B frames, N points, S side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates
from pegasus_ray.avatar.fit.densify import grow_points
from pegasus_ray.avatar.fit.motion_mask import motion_freedom
from pegasus_ray.avatar.fit.perceptual import Features
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering
from pegasus_ray.rig.model import Rig

LEARNED = ("offsets", "log_radii", "opacity_logits", "albedo", "position_basis", "colour_basis", "lights")
"""The explicit avatar's tensors that a fit changes."""

LARGEST_POINT = 0.02
"""Radius in metres that no explicit point exceeds."""

Groups = list[dict[str, Any]]
"""Parameter groups of an optimiser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a batch of frames should look like."""

    images: Tensor  # (B, S, S, 3) on white
    mattes: Tensor  # (B, S, S)
    members: Tensor | None = None  # (B, S, S) mask of the synthesised part, where there is one
    normals: Tensor | None = None  # (B, S, S, 3) in camera space, zero where they are not known
    features: Features | None = None  # the pictures' perceptual features, where the term is on


class Learner(Protocol):
    """A model while it is fitted at one resolution."""

    @property
    def rig(self) -> Rig:
        """What the points are bound to."""
        ...

    @property
    def avatar(self) -> Avatar:
        """The points, with those tensors as leaves that are learned a point."""
        ...

    def canonical(self, code: Mapping[str, int]) -> CanonicalPoints:
        """The points under a code; differentiable."""
        ...

    def extra(self, points: CanonicalPoints) -> Tensor | None:
        """What is to be composited beside the colours, (N, C)."""
        ...

    def loss(self, drawn: Rendering, points: CanonicalPoints, truth: Truth, share: float) -> Tensor:
        """The loss of a batch, at a share 0–1 of the fit."""
        ...

    def groups(self, rates: LearningRates) -> Groups:
        """What the optimiser steps, and how fast; the order is fixed."""
        ...

    def shrink(self) -> None:
        """Regularisers that are cheaper on gradients than in the loss: called between the backward pass and the step."""
        ...

    def bound(self) -> None:
        """What no step may cross: called after each."""
        ...

    def grow(self, keep: Tensor, pull: Tensor, count: int, generator: torch.Generator) -> Avatar:
        """The points that are kept (N,), grown towards `count`."""
        ...

    def over(self, avatar: Avatar) -> Learner:
        """The same model over other points."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What is learned beside the points, for a checkpoint."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        ...


class ExplicitLearner:
    """Explicit points: each has its own offset, radius, opacity, albedo and motion."""

    def __init__(self, avatar: Avatar, rig: Rig, config: FitConfig) -> None:
        self.avatar = avatar.with_tensors({name: leaf(getattr(avatar, name)) for name in LEARNED})
        self.rig, self.config = rig, config
        self.anchors = avatar.anchors(rig)
        self.free = motion_freedom(avatar, self.anchors, rig)

    def canonical(self, code: Mapping[str, int]) -> CanonicalPoints:
        """See `Learner`; there is only one code."""
        return self.avatar.canonical(self.anchors)

    def extra(self, points: CanonicalPoints) -> Tensor:
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

    def groups(self, rates: LearningRates) -> Groups:
        """A group a tensor."""
        return [{"params": [getattr(self.avatar, name)], "lr": getattr(rates, name)} for name in LEARNED]

    def shrink(self) -> None:
        """The squared norms of offsets and motion bases, by their gradients: no graph over a million numbers.

        Points that may not follow a component of the motion code (`motion_freedom`) are not moved by it.
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
            self.avatar.position_basis.grad.mul_(self.free[..., None])

    def bound(self) -> None:
        """No point grows beyond `LARGEST_POINT`: those that hardly any frame shows would drift on Adam's even steps."""
        with torch.no_grad():
            self.avatar.log_radii.clamp_(max=math.log(LARGEST_POINT))

    def grow(self, keep: Tensor, pull: Tensor, count: int, generator: torch.Generator) -> Avatar:
        """Clones where the loss pulls hardest."""
        return grow_points(self.avatar.detach().select(keep), pull[keep], count, generator)

    def over(self, avatar: Avatar) -> ExplicitLearner:
        """Other points are another model."""
        return ExplicitLearner(avatar, self.rig, self.config)

    def state(self) -> dict[str, Tensor]:
        """Nothing: the points are all."""
        return {}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to load."""


def leaf(tensor: Tensor) -> Tensor:
    """A copy that a graph can start from."""
    return tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
