"""What a fit corrects in the tracking of its own frames.

Legend: T frames, B a batch of them, E expressions.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.explicit_learner import leaf
from pegasus_ray.avatar.points.frames import Parameters

METRES_A_RADIAN = {"head": 0.27, "torso": 0.2}
"""How far a translation moves where a rotation moves by a radian: both are steps of one optimiser."""


RIDGE = 1e-2
"""Of the regression of corrections on poses, against poses that a performance hardly has."""


class Residuals:
    """Small corrections of the tracked parameters, a row a frame, in units that one learning rate suits.

    They hold what is a frame's own. A mean of theirs, or a part that follows from the pose, is the avatar's to learn: a
    correction that the frames share would be missing where the avatar is driven by parameters as they were tracked.
    """

    def __init__(self, tracked: Parameters) -> None:
        self.tracked = tracked
        self.values = {name: torch.zeros_like(getattr(tracked, name)) for name in ("head", "torso", "expression")}
        poses = torch.cat([tracked.head, tracked.torso], dim=1)
        spread = poses.std(0, correction=0).clamp(min=1e-3)
        self._poses = torch.cat([torch.ones_like(poses[:, :1]), (poses - poses.mean(0)) / spread], dim=1)  # (T, 13)
        gram = self._poses.T @ self._poses / len(poses) + RIDGE * torch.eye(13, device=poses.device)
        self._regression = torch.linalg.solve(gram, self._poses.T / len(poses))  # (13, T)

    def centre(self) -> None:
        """Take out of the corrections their mean, and what regresses on the tracked poses."""
        with torch.no_grad():
            for value in self.values.values():
                value -= self._poses @ (self._regression @ value)

    def leaves(self) -> dict[str, Tensor]:
        """The corrections as leaves of a graph."""
        for name, value in self.values.items():
            self.values[name] = leaf(value)
        return self.values

    def rows(self, index: Tensor) -> Parameters:
        """Corrected parameters of frames `index` (B,)."""
        rows = self.tracked.rows(index)
        corrected = {
            name: getattr(rows, name) + value[index] * self._unit(name, value) for name, value in self.values.items()
        }
        return replace(rows, **corrected)

    def corrected(self) -> Parameters:
        """All frames, outside of any graph."""
        everything = torch.arange(len(self.tracked), device=self.tracked.head.device)
        with torch.no_grad():
            return self.rows(everything)

    def prior(self, index: Tensor) -> Tensor:
        """How far frames `index` have strayed from their tracking."""
        head, torso, expression = (self.values[name][index].square() for name in ("head", "torso", "expression"))
        turn = 0.4 * head[:, :3].sum() + 1e-3 * torso[:, :3].sum()
        shift = 0.7 * head[:, 3:].sum() + 0.04 * torso[:, 3:].sum()
        return turn + shift + 1e-3 * expression.sum()

    @staticmethod
    def _unit(name: str, like: Tensor) -> Tensor:
        unit = torch.ones(like.shape[1], device=like.device)
        if name in METRES_A_RADIAN:
            unit[3:] = METRES_A_RADIAN[name]
        return unit
