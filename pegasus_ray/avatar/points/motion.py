"""Motion codes: a few numbers per frame, with which an avatar's points move and change colour beyond what the rig does.

Legend: T frames, B a batch of them, E expressions, Z motion components.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

UNITS_PER_RADIAN = 1.5
"""How many units of expression a radian of rotation counts as in a motion code."""

UNITS_PER_METRE = 12.0
"""How many units of expression a metre of the torso's shift against the head counts as."""

POSE_SIGNALS = 9
"""Numbers of the signal beside the expressions: the head's rotation (3) and the torso's pose relative to the head's (6)."""

MAX_POSE_COMPONENTS = 6
"""At most this many components describe the pose, and never more than half of all."""

MAX_CODE = 2.5
"""Codes are clamped to this many deviations, so that what was learned stays bounded in poses that no frame showed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionCode:
    """A linear code of expression, head rotation and the torso's pose relative to the head.

    Points move and change colour with it, beyond what the rig does: shoulders rise and collars fold as the torso moves against
    the head, which the rig's rigid torso cannot show. A component depends either on expressions or on the pose, never on both:
    otherwise shoulders would learn to move with the mouth.
    """

    mean: Tensor  # (E + 9,)
    components: Tensor  # (Z, E + 9)
    scale: Tensor  # (Z,) what the signal's projection on a component is divided by

    @staticmethod
    def of(expression: Tensor, head: Tensor, torso: Tensor, components: int) -> MotionCode:
        """The principal components of a performance's expressions and, after them, of its poses.

        The scale of a component is at least half of the first one's. Without that floor small components, which are mostly noise,
        would be scaled up, and what is learned on them does not hold on unseen frames (measured on a real video).

        Args:
            expression: (T, E).
            head: (T, 6) rotation vector and translation.
            torso: (T, 6) the same of the torso.
            components: Z; components that the performance does not span are zero.
        """
        signal = _signal(expression, head, torso)
        mean = signal.mean(0)
        moved, expressions = signal - mean, expression.shape[1]
        of_pose = min(MAX_POSE_COMPONENTS, components // 2)
        face, face_scale = _principal(moved[:, :expressions], components - of_pose)
        pose, pose_scale = _principal(moved[:, expressions:], of_pose)
        pad = torch.nn.functional.pad
        rows = torch.cat([pad(face, (0, POSE_SIGNALS)), pad(pose, (expressions, 0))])
        return MotionCode(mean=mean, components=rows, scale=torch.cat([face_scale, pose_scale]))

    @property
    def of_pose(self) -> Tensor:
        """Which components depend on the pose rather than on expressions, (Z,) bool."""
        return (self.components[:, :-POSE_SIGNALS] == 0).all(1)

    def to(self, device: torch.device | str) -> MotionCode:
        """The same code on another device."""
        return MotionCode(mean=self.mean.to(device), components=self.components.to(device), scale=self.scale.to(device))

    def encode(self, expression: Tensor, head: Tensor, torso: Tensor) -> Tensor:
        """Codes (B, Z), clamped to ±`MAX_CODE`, of expressions (B, E), head poses (B, 6) and torso poses (B, 6)."""
        return ((_signal(expression, head, torso) - self.mean) @ self.components.T / self.scale).clamp(
            -MAX_CODE, MAX_CODE
        )


def _principal(moved: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Directions (components, D) in which centred signals (T, D) vary most, and the deviation along each, (components,).

    Past the rank of the signals the directions are zero.
    """
    _, spread, directions = torch.linalg.svd(moved, full_matrices=False)
    rank = min(components, len(spread))
    basis, deviation = moved.new_zeros(components, moved.shape[1]), moved.new_zeros(components)
    basis[:rank], deviation[:rank] = directions[:rank], spread[:rank] / max(len(moved), 1) ** 0.5
    least = max(0.5 * float(deviation[0]), 1e-3) if components else 1e-3
    return basis, deviation.clamp(min=least)


def _signal(expression: Tensor, head: Tensor, torso: Tensor) -> Tensor:
    """What a code is computed from, (T, E + 9): expressions, the head's rotation, the torso's pose less the head's."""
    lean = torso - head
    return torch.cat(
        [expression, UNITS_PER_RADIAN * head[:, :3], UNITS_PER_RADIAN * lean[:, :3], UNITS_PER_METRE * lean[:, 3:]],
        dim=-1,
    )
