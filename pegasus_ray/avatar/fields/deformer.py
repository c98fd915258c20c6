"""The deformer: offsets between the canonical spaces, bases of motion and skinning of a generic canonical point (paper Eq. 7).

Bases and skinning come as differences from the rig's own at the point's place, so that a fit begins as the rig moves; the
rig prior (§4.3, L_FLAME) is then the size of these differences.

Legend: N points, S signals (pose features, expressions, motion components), J joints, H activations, Z length of the code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.canonical import SCALE, to_units
from pegasus_ray.avatar.fields.mlp import Trunk, product

REACH = 0.05
"""Metres a unit of the heads: Adam's steps on the weights then move points by tenths of a millimetre."""

JOINT_GAIN = 5.0
"""Skinning logits a unit of the head."""


@dataclass(frozen=True, slots=True)
class Deformation:
    """What the deformer says of points, and how that changes over space."""

    to_subject: Tensor  # (N, 3) metres, generic → subject canonical (Eq. 5)
    to_rig: Tensor  # (N, 3) metres, subject → rig canonical (Eq. 6)
    bases: Bases
    joint_logits: Tensor  # (N, J)
    tangents: Tangents | None


@dataclass(frozen=True, slots=True)
class Bases:
    """Bases of motion, (S, N, 3) metres a unit of the signal, as the linear map that they are of the last activations.

    They are hundreds of numbers a point: what a frame needs of them is one sum, and what the prior needs is a few points' worth.
    """

    hidden: Tensor  # (N, H)
    heads: Tensor  # (S, 3, H)
    still: Tensor  # (S, 3) of a point without activations

    def at(self, every: int = 1) -> Tensor:
        """The bases (S, N', 3) of every `every`th point."""
        rows = self.hidden[::every]
        values = rows @ self.heads.flatten(0, 1).T + self.still.flatten()
        return values.view(len(rows), *self.still.shape).transpose(0, 1)

    def moved(
        self,
        signals: Tensor,  # (B, S)
    ) -> Tensor:
        """The sum of all bases times their signals, (B, N, 3)."""
        weighed = (signals @ self.heads.flatten(1)).view(-1, self.hidden.shape[-1])  # (B · 3, H)
        places = (self.hidden @ weighed.T).view(len(self.hidden), len(signals), 3).transpose(0, 1)
        return places + (signals @ self.still.flatten(1))[:, None]


@dataclass(frozen=True, slots=True)
class Tangents:
    """Derivatives of a deformation by the generic canonical place, outside any graph; the last axis is the direction."""

    to_subject: Tensor  # (N, 3, 3)
    to_rig: Tensor  # (N, 3, 3)
    hidden: Tensor  # (3, N, H) of the last activations, a direction first; the bases are linear in them
    heads: Tensor  # (S, 3, H) that linear map
    joint_logits: Tensor  # (N, J, 3)


class Deformer(nn.Module):
    """A point and a code to its deformation; begins as no deformation at all."""

    def __init__(self, code: int, *, signals: int, joints: int, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        self.signals, self.joints = signals, joints
        self.trunk = Trunk(3, width, depth, code)
        self.heads = nn.Linear(width, 6 + 3 * signals + joints)
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)

    def forward(
        self,
        positions: Tensor,  # (N, 3) metres, generic canonical space
        code: Tensor,  # (Z,)
        *,
        tangents: bool = True,
    ) -> Deformation:
        """The deformation, with its derivatives by the place where `tangents` asks for them."""
        trace = self.trunk(to_units(positions), code)
        weight, bias, last = self.heads.weight, self.heads.bias, 6 + 3 * self.signals
        offsets = REACH * product(trace.hidden, weight[:6], bias[:6])
        logits = JOINT_GAIN * product(trace.hidden, weight[last:], bias[last:])
        bases = Bases(
            trace.hidden, REACH * weight[6:last].view(self.signals, 3, -1), REACH * bias[6:last].view(self.signals, 3)
        )
        moving = None
        if tangents:
            with torch.no_grad():
                axes = SCALE * torch.eye(3, dtype=positions.dtype, device=positions.device)
                moving = self._tangents(self.trunk.push_forward(trace, axes[:, None].expand(-1, len(positions), -1)))
        return Deformation(offsets[:, :3], offsets[:, 3:], bases, logits, moving)

    def _tangents(self, hidden: Tensor) -> Tangents:
        """The derivatives of all heads, of those of the activations (3, N, H)."""
        bases = slice(6, 6 + 3 * self.signals)
        offsets = REACH * (hidden @ self.heads.weight[:6].T).movedim(0, -1)
        logits = JOINT_GAIN * (hidden @ self.heads.weight[bases.stop :].T).movedim(0, -1)
        heads = REACH * self.heads.weight[bases].detach().view(self.signals, 3, -1)
        return Tangents(offsets[:, :3], offsets[:, 3:], hidden, heads, logits)
