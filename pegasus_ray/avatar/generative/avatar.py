"""The generative avatar in the preset `fast`: explicit points, and a linear map from each block of the code to their state.

The code is z = (z⁰, z¹ … z^D): one block for the identity and one for each attribute (paper §4.1). The identity's points are
the target's own. An attribute's points are shared by all its sources: on the way from one source's code to another's the same
points move and change colour, so that an interpolation is a morph and not two half-transparent parts.

Legend: n points of a block, D numbers a code, M codes learned, F numbers a point, K shape axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.hair_under_hat import pressed_flat
from pegasus_ray.avatar.points.avatar import Avatar, join_group
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

OWN = "own"
"""The name of the target's own code in every block."""

STATE = {"offsets": 3, "log_radii": 1, "opacity_logits": 1, "albedo": 3}
"""What a code changes about a point, and how many numbers each is: F = 8."""

PRESSED_LOG_SIZE = 6.0
"""What hair under a hat loses of the logarithm of its radius. Faint points of full size would still take places among a pixel's
nearest points, and the hat behind them would show holes."""

PRESSED_LOGIT = 8.0
"""What it loses of the logit of its opacity."""

WHOLE_HAT_OPACITY = 0.4
"""Mean opacity of a hat's points from which on the hat is wholly there."""

LEAST_HAT_SHARE = 0.1
"""With a smaller share of that, the hat presses nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedPoints:
    """Points whose state is an affine function of a code."""

    points: Avatar  # their state at the zero code, binding and motion
    basis: Tensor  # (D, n, F) change of state a unit of the code
    codes: Tensor  # (M, D) learned, one a source
    sources: tuple[str, ...]  # M names; the first is OWN
    shapes: Tensor  # (M, K) the shape that the whole avatar takes under each code

    def code(self, source: str) -> Tensor:
        """The code (D,) of a source: its name or an unambiguous beginning of it.

        Raises:
            PegasusError: BAD_REFERENCE naming the sources that there are.
        """
        found = [
            i for i, name in enumerate(self.sources) if name == source or (len(source) >= 4 and name.startswith(source))
        ]
        if len(found) != 1:
            raise PegasusError(
                Reason.BAD_REFERENCE, f"no such code; there are {', '.join(self.sources)}", subject=source
            )
        return self.codes[found[0]]

    def decode(self, code: Tensor) -> Avatar:
        """The points under `code` (D,)."""
        moved = torch.einsum("d,dnf->nf", code, self.basis)
        state, start = {}, 0
        for name, width in STATE.items():
            value = getattr(self.points, name)
            state[name] = value + moved[:, start : start + width].reshape(value.shape)
            start += width
        return self.points.with_tensors(state)

    def shape(self, code: Tensor) -> Tensor:
        """The shape (K,) under `code`: linear between the learned codes' shapes and beyond them, with the least-norm weights."""
        if len(self.sources) == 1:
            return self.shapes[0]
        away, shapes = self.codes[1:] - self.codes[:1], self.shapes[1:] - self.shapes[:1]
        share: Tensor = torch.linalg.pinv(away.T) @ (code - self.codes[0])
        return self.shapes[0] + share @ shapes


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeAvatar:
    """A person, and what may be changed about them."""

    identity: CodedPoints  # z⁰: all points but the attributes'
    blocks: Mapping[Attribute, CodedPoints]  # z¹ … z^D

    def codes(self, chosen: Mapping[Attribute, Tensor] | None = None) -> dict[Attribute, Tensor]:
        """A code for every attribute: the chosen ones, else the target's own."""
        return {attribute: (chosen or {}).get(attribute, block.codes[0]) for attribute, block in self.blocks.items()}

    def decode(
        self,
        codes: Mapping[Attribute, Tensor],
        rig: Rig,
        *,
        identity: Tensor | None = None,
        pressed: Tensor | None = None,
    ) -> Avatar:
        """An ordinary avatar: the target with the attributes that the codes say (paper Eq. 4).

        Args:
            codes: of every attribute.
            rig: that the points are bound to.
            identity: the code (D,) of everything else; the target's own by default.
            pressed: what `pressed` gives for these codes, where it is known already.
        """
        identity = self.identity.codes[0] if identity is None else identity
        avatar, shape = self.identity.decode(identity), self.identity.shape(identity)
        for attribute, block in self.blocks.items():
            avatar = join_group(avatar, block.decode(codes[attribute]))
            shape = torch.where(rig.axes_of(attribute), block.shape(codes[attribute]), shape)
        avatar = replace(avatar, shape=shape)
        if Attribute.HAT not in self.blocks:
            return avatar
        flat = self.pressed(avatar, rig) if pressed is None else pressed
        return replace(
            avatar,
            opacity_logits=avatar.opacity_logits - PRESSED_LOGIT * flat,
            log_radii=avatar.log_radii - PRESSED_LOG_SIZE * flat,
        )

    def pressed(self, avatar: Avatar, rig: Rig) -> Tensor:
        """How much the hat presses each point of a decoded avatar, (N,) 0–1: the hair that would stick out of it."""
        with torch.no_grad():
            start, end = self.membership()[Attribute.HAT]
            there = float((torch.sigmoid(avatar.opacity_logits[start:end]).mean() / WHOLE_HAT_OPACITY).clamp(max=1))
            if there < LEAST_HAT_SHARE:
                return torch.zeros(len(avatar))
            hat = avatar.select(torch.arange(start, end))
            return there * pressed_flat(avatar, hat.places(rig), rig).float()

    def membership(self) -> dict[Attribute, tuple[int, int]]:
        """Where each attribute's points begin and end in what `decode` gives: the paper's χ."""
        spans, start = {}, len(self.identity.points)
        for attribute, block in self.blocks.items():
            spans[attribute] = (start, start + len(block.points))
            start += len(block.points)
        return spans


def mix(first: Tensor, second: Tensor, share: float) -> Tensor:
    """A code between two, `share` of the way from the first to the second."""
    return (1 - share) * first + share * second
