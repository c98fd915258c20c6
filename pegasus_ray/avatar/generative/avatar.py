"""The generative avatar in the preset `fast`: explicit points, and a linear map from each block of the code to their state.

The code is z = (z⁰, z¹ … z^D): one block for the identity and one for each attribute (paper §4.1). The identity's points are
the target's own. An attribute's points are shared by all its sources: on the way from one source's code to another's the same
points move and change colour, so that an interpolation is a morph and not two half-transparent parts.

Legend: n points of a block, D numbers per code, M learned codes, F numbers per point, K shape axes, N points of all blocks.
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
"""What a code changes about a point, with the numbers that each takes: F = 8 together."""

PRESSED_LOG_SIZE = 6.0
"""Subtracted from the log radius of hair that a hat presses. Faint points of full size would still be among a pixel's nearest
points, in place of the hat behind them, which would then show holes."""

PRESSED_LOGIT = 8.0
"""Subtracted from the opacity logit of such hair."""

WHOLE_HAT_OPACITY = 0.4
"""A code shows a whole hat if the mean opacity of the hat's points is this or more."""

LEAST_HAT_SHARE = 0.1
"""With a mean opacity below this share of `WHOLE_HAT_OPACITY`, the hat presses no hair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedPoints:
    """Points whose state is an affine function of a code."""

    points: Avatar  # their state at the zero code, binding and motion
    basis: Tensor  # (D, n, F) change of state per unit of the code
    codes: Tensor  # (M, D) learned, one per source
    sources: tuple[str, ...]  # M names; the first is OWN
    shapes: Tensor  # (M, K) under each code; of an attribute's block, only the attribute's own axes are used

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
        """The shape (K,) under `code`: an affine combination of the learned codes' shapes, with the weights of least norm."""
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
        """An ordinary avatar: the target with the attributes that the codes stand for (paper Eq. 4).

        Args:
            codes: of every attribute.
            rig: that the points are bound to.
            identity: the code (D,) of everything else; the target's own by default.
            pressed: the result of `pressed` for these codes, if it is known already.
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
        """How strongly the hat hides each point of a decoded avatar, (N,) 0–1: hair under it, and hair that would stick out."""
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
