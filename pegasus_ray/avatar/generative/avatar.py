"""The generative avatar in the preset `fast`: explicit points, and a linear map from each block of the code to their state.

The code is z = (z⁰, z¹ … z^D), the identity and one block an attribute (paper §4.1). The identity's points are the target's own;
an attribute's points are shared by all sources, so that a step from one source's code to another's moves, recolours and fades the
same points: an interpolation is a morph, not a double exposure.

Legend: n points of a block, D numbers a code, M codes learned, F numbers a point, K shape axes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.hair_under_hat import pressed_flat
from pegasus_ray.avatar.borrow.parts import join_group, places_of
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

OWN = "own"
"""The name of the target's own code in every block."""

STATE = {"offsets": 3, "log_radii": 1, "opacity_logits": 1, "albedo": 3}
"""What a code changes about a point, and how many numbers each is: F = 8."""

SHRUNK = 6.0
"""Off the logarithm of the radius of hair under a hat: a faint point that stays large takes a place among a pixel's nearest, and
where all places are taken the hat behind them is a hole."""

PRESSED, SOLID, FAINT = 8.0, 0.4, 0.1
"""Logits off the opacity of hair under a hat; the mean opacity of a hat that is wholly there; less of it presses nothing."""


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
        """The shape (K,) under `code`: the learned codes' shapes, carried on linearly between them and beyond."""
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
            opacity_logits=avatar.opacity_logits - PRESSED * flat,
            log_radii=avatar.log_radii - SHRUNK * flat,
        )

    def pressed(self, avatar: Avatar, rig: Rig) -> Tensor:
        """How much a hat that is there presses each point of a decoded avatar, (N,) 0–1: hair under it that would stick out."""
        with torch.no_grad():
            start, end = self.membership()[Attribute.HAT]
            there = float((torch.sigmoid(avatar.opacity_logits[start:end]).mean() / SOLID).clamp(max=1))
            if there < FAINT:
                return torch.zeros(len(avatar))
            hat = avatar.select(torch.arange(start, end))
            return there * pressed_flat(avatar, places_of(hat, rig), rig).float()

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
