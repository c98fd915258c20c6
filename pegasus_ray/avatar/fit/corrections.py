"""Small corrections of the tracked parameters of a fit's own frames, learned together with the avatar.

Legend: T frames, B a batch of them, E expressions.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.learner import leaf
from pegasus_ray.avatar.points.frames import Parameters

METRES_PER_RADIAN = {"head": 0.27, "torso": 0.2}
"""Metres of translation per unit of a correction, of which a unit of rotation is one radian.

One optimiser steps both with one rate, so their units should move points about equally far."""

POSE_RIDGE = 1e-2
"""Ridge of the regression of corrections on standardised poses, against directions in which the poses hardly vary."""

MIN_POSE_DEVIATION = 1e-3
"""Smallest deviation (radians or metres) by which a pose is standardised."""


class TrackingCorrections:
    """Corrections of head, torso and expression, one row per frame, in units that suit one learning rate.

    A correction holds only what is specific to its frame. The mean over the frames, and whatever can be predicted from the pose,
    must be learned by the avatar instead: a correction that frames share would be missing wherever the avatar is driven by
    parameters as they were tracked.
    """

    def __init__(self, tracked: Parameters) -> None:
        self.tracked = tracked
        self.values = {name: torch.zeros_like(getattr(tracked, name)) for name in ("head", "torso", "expression")}
        poses = torch.cat([tracked.head, tracked.torso], dim=1)
        deviation = poses.std(0, correction=0).clamp(min=MIN_POSE_DEVIATION)
        self._poses = torch.cat([torch.ones_like(poses[:, :1]), (poses - poses.mean(0)) / deviation], dim=1)  # (T, 13)
        gram = self._poses.T @ self._poses / len(poses) + POSE_RIDGE * torch.eye(13, device=poses.device)
        self._regression = torch.linalg.solve(gram, self._poses.T / len(poses))  # (13, T)

    def remove_shared(self) -> None:
        """Subtract from the corrections their mean and what a linear regression on the tracked poses predicts of them."""
        with torch.no_grad():
            for value in self.values.values():
                value -= self._poses @ (self._regression @ value)

    def leaves(self) -> dict[str, Tensor]:
        """The corrections as new leaves of the autograd graph. Checkpoints rely on the order."""
        for name, value in self.values.items():
            self.values[name] = leaf(value)
        return self.values

    def rows(self, index: Tensor) -> Parameters:
        """Corrected parameters of frames `index` (B,)."""
        rows = self.tracked.rows(index)
        corrected = {
            name: getattr(rows, name) + value[index] * self._units(name, value) for name, value in self.values.items()
        }
        return replace(rows, **corrected)

    def corrected(self) -> Parameters:
        """Corrected parameters of all frames, without gradients."""
        everything = torch.arange(len(self.tracked), device=self.tracked.head.device)
        with torch.no_grad():
            return self.rows(everything)

    def prior(self, index: Tensor) -> Tensor:
        """A weighted sum of the squared corrections of frames `index`, which keeps them close to their tracking."""
        head, torso, expression = (self.values[name][index].square() for name in ("head", "torso", "expression"))
        turn = 0.4 * head[:, :3].sum() + 1e-3 * torso[:, :3].sum()
        shift = 0.7 * head[:, 3:].sum() + 0.04 * torso[:, 3:].sum()
        return turn + shift + 1e-3 * expression.sum()

    @staticmethod
    def _units(name: str, like: Tensor) -> Tensor:
        """What one unit of each column of a correction is, in radians, metres or units of expression."""
        units = torch.ones(like.shape[1], device=like.device)
        if name in METRES_PER_RADIAN:
            units[3:] = METRES_PER_RADIAN[name]
        return units
