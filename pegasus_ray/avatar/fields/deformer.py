"""The deformer: offsets between canonical spaces, motion bases and skinning of a generic canonical point (paper Eq. 7).

Bases and skinning are learned as differences from the rig's own at the point's place. So a fit starts with the rig's motion, and
the rig prior (§4.3, L_FLAME) is the size of these differences.

Legend: N points, S signals (pose features, expressions, motion components), J joints, H activations, Z length of the code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.canonical import UNITS_PER_METRE, to_field_units
from pegasus_ray.avatar.fields.mlp import Trunk, linear_layer

METRES_PER_OUTPUT = 0.05
"""Metres per unit of an output: with it, Adam's steps on the weights move points by tenths of a millimetre."""

LOGITS_PER_OUTPUT = 5.0
"""Skinning logits per unit of an output."""


@dataclass(frozen=True, slots=True)
class Deformation:
    """The deformer's outputs at points, and their spatial derivatives."""

    to_subject: Tensor  # (N, 3) metres, generic → subject canonical (Eq. 5)
    to_rig: Tensor  # (N, 3) metres, subject → rig canonical (Eq. 6)
    bases: Bases
    joint_logits: Tensor  # (N, J)
    tangents: Tangents | None


@dataclass(frozen=True, slots=True)
class Bases:
    """Motion bases (S, N, 3) in metres per unit of the signal, kept as a linear map of the last activations.

    Written out they would be hundreds of numbers per point. A frame only needs their weighted sum, and the prior only needs them
    at a few points.
    """

    hidden: Tensor  # (N, H) last activations
    heads: Tensor  # (S, 3, H) the linear map
    bias: Tensor  # (S, 3) of that map

    def subsample(self, stride: int = 1) -> Tensor:
        """The bases (S, N', 3) of every `stride`th point."""
        rows = self.hidden[::stride]
        values = rows @ self.heads.flatten(0, 1).T + self.bias.flatten()
        return values.view(len(rows), *self.bias.shape).transpose(0, 1)

    def displacement(
        self,
        signals: Tensor,  # (B, S)
    ) -> Tensor:
        """The sum of all bases times their signals, (B, N, 3) metres."""
        weighed = (signals @ self.heads.flatten(1)).view(-1, self.hidden.shape[-1])  # (B · 3, H)
        places = (self.hidden @ weighed.T).view(len(self.hidden), len(signals), 3).transpose(0, 1)
        return places + (signals @ self.bias.flatten(1))[:, None]


@dataclass(frozen=True, slots=True)
class Tangents:
    """Derivatives of a deformation by the generic canonical place, without gradients; the last axis is the direction."""

    to_subject: Tensor  # (N, 3, 3)
    to_rig: Tensor  # (N, 3, 3)
    hidden: Tensor  # (3, N, H) of the last activations, with the direction first; the bases are linear in them
    heads: Tensor  # (S, 3, H) that linear map
    joint_logits: Tensor  # (N, J, 3)


class Deformer(nn.Module):
    """Maps a point and a code to its deformation, which is zero before training."""

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
        """The deformation; with `tangents` also its derivatives by the place."""
        trace = self.trunk(to_field_units(positions), code)
        weight, bias, last = self.heads.weight, self.heads.bias, 6 + 3 * self.signals
        offsets = METRES_PER_OUTPUT * linear_layer(trace.hidden, weight[:6], bias[:6])
        logits = LOGITS_PER_OUTPUT * linear_layer(trace.hidden, weight[last:], bias[last:])
        bases = Bases(
            hidden=trace.hidden,
            heads=METRES_PER_OUTPUT * weight[6:last].view(self.signals, 3, -1),
            bias=METRES_PER_OUTPUT * bias[6:last].view(self.signals, 3),
        )
        found = None
        if tangents:
            with torch.no_grad():
                axes = UNITS_PER_METRE * torch.eye(3, dtype=positions.dtype, device=positions.device)
                found = self._tangents(self.trunk.push_forward(trace, axes[:, None].expand(-1, len(positions), -1)))
        return Deformation(offsets[:, :3], offsets[:, 3:], bases, logits, found)

    def _tangents(self, hidden: Tensor) -> Tangents:
        """The derivatives of all outputs, from those of the last activations (3, N, H)."""
        bases = slice(6, 6 + 3 * self.signals)
        offsets = METRES_PER_OUTPUT * (hidden @ self.heads.weight[:6].T).movedim(0, -1)
        logits = LOGITS_PER_OUTPUT * (hidden @ self.heads.weight[bases.stop :].T).movedim(0, -1)
        heads = METRES_PER_OUTPUT * self.heads.weight[bases].detach().view(self.signals, 3, -1)
        return Tangents(offsets[:, :3], offsets[:, 3:], hidden, heads, logits)
