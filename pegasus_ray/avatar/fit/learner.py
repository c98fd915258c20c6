"""The protocol between the fitting loop and what it fits: explicit points (preset `fast`) or fields over them (preset `paper`).

Legend: B frames, N points, S side, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.config import LearningRates
from pegasus_ray.avatar.fit.perceptual import Features
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Rendering
from pegasus_ray.rig.model import Rig

ParameterGroups = list[dict[str, Any]]
"""Parameter groups of an optimiser: `params`, `lr`, and `rests` (true) if they are not stepped before `codes_from`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a batch of frames should look like."""

    images: Tensor  # (B, S, S, 3) on white
    mattes: Tensor  # (B, S, S)
    synthesised: Tensor | None = None  # (B, S, S) mask of the synthesised part, where there is one
    normals: Tensor | None = None  # (B, S, S, 3) in camera space, zero where they are not known
    features: Features | None = None  # the images' perceptual features, where that term is used


class Learner(Protocol):
    """A model while it is fitted at one resolution."""

    @property
    def rig(self) -> Rig:
        """The rig that the points are bound to."""
        ...

    @property
    def avatar(self) -> Avatar:
        """The points; the tensors that are learned per point are leaves of the autograd graph."""
        ...

    def canonical(self, code: Mapping[str, int]) -> CanonicalPoints:
        """The points under a code; differentiable."""
        ...

    def extra_features(self, points: CanonicalPoints) -> Tensor | None:
        """Features (N, C) that the loss needs composited besides the colours."""
        ...

    def loss(self, drawn: Rendering, points: CanonicalPoints, truth: Truth, share: float) -> Tensor:
        """The loss of a batch, at a share 0–1 of the fit."""
        ...

    def parameter_groups(self, rates: LearningRates) -> ParameterGroups:
        """The parameters that the optimiser steps, with their rates. Checkpoints rely on the order."""
        ...

    def add_regulariser_gradients(self) -> None:
        """Add gradients of regularisers that are cheaper this way than in the loss; called between backward pass and step."""
        ...

    def clamp_parameters(self) -> None:
        """Bring parameters back into their bounds; called after each step."""
        ...

    def grow(self, keep: Tensor, gradient_length: Tensor, count: int, generator: torch.Generator) -> Avatar:
        """The points that a mask `keep` (N,) names, grown towards `count`, for the next resolution.

        Args:
            keep: (N,) mask of the points to keep.
            gradient_length: (N,) length of the loss' gradient by a point's position, summed over the steps so far.
            count: how many points are wanted.
            generator: the source of random numbers.
        """
        ...

    def with_points(self, avatar: Avatar) -> Learner:
        """The same model over other points."""
        ...

    def state(self) -> dict[str, Tensor]:
        """The tensors that are learned besides the points, for a checkpoint."""
        ...

    def load(self, state: Mapping[str, Tensor]) -> None:
        """The inverse of `state`."""
        ...


def leaf(tensor: Tensor) -> Tensor:
    """A copy that is a leaf of the autograd graph and requires gradients."""
    return tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_(True)
