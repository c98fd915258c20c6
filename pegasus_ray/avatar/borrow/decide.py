"""How an attribute goes from a source to a wearer: the one decision that swaps, transfers and generative avatars follow.

Legend: K shape axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import can_form
from pegasus_ray.avatar.borrow.carry import carry_part, lift_off_cloth
from pegasus_ray.avatar.borrow.complete_scalp import bald
from pegasus_ray.avatar.borrow.hair_under_hat import under_hat
from pegasus_ray.avatar.borrow.match_light import match_light
from pegasus_ray.avatar.borrow.parts import lend
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

COVERS_SCALP: Final = (Attribute.HAIR, Attribute.HAT)
"""The attributes that lie over the head. The wearer's own hair or hat is taken off first, and what it hid is completed."""


class Way(StrEnum):
    """How an attribute is borrowed."""

    COVER = "cover"
    """Hair and hats: the source's points, moved as one piece to the wearer's head, whose own hair or hat is taken off."""
    FORM = "form"
    """Noses, eyes, mouths: the rig's identity axes of the part and, but for noses, the colours. The points are the wearer's."""
    STRANDS = "strands"
    """Brows: the source's hairs with the skin between them, which gets the wearer's tone."""
    SET_IN = "set in"
    """Noses, eyes, mouths where the rig has no axes for them or the wearer shows none: the source's points, set into the face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowing:
    """What was decided for one attribute of one source on one wearer."""

    attribute: Attribute
    way: Way
    shape: Tensor  # (K,) the wearer's identity with the source's axes of the attribute
    source: Avatar  # in the wearer's light, on its own shape

    def lender(self, rig: Rig) -> Avatar:
        """The source as it is drawn on `shape`: hair and hats are moved to that head as one piece."""
        return carry_part(self.source, self.attribute.part, rig, self.shape) if self.way is Way.COVER else self.source

    def lent(self, rig: Rig) -> Avatar:
        """The source's points of the attribute alone, as they lie on `shape`.

        Raises:
            PegasusError: MISSING_ATTRIBUTE where the source does not show the attribute.
        """
        return lend(self.lender(rig), self.attribute, rig)

    @property
    def keeps_motion(self) -> bool:
        """Whether the points keep their learned motion; hair and hats do not, as theirs followed the source's expressions."""
        return self.way is not Way.COVER

    def on_clothes(self, lent: Avatar, wearer: Avatar, rig: Rig) -> Avatar:
        """The lent points, hair laid on the wearer's clothes: long hair would otherwise hang inside a broader body."""
        return lift_off_cloth(lent, wearer, rig) if self.attribute is Attribute.HAIR else lent

    def bare_head(self, wearer: Avatar, lent: Avatar, rig: Rig) -> Avatar:
        """The wearer before hair or a hat is put on: bald, or without the hair that the hat `lent` would press flat or cover."""
        return bald(wearer, rig) if self.attribute is Attribute.HAIR else under_hat(wearer, lent, rig)


def decide(wearer: Avatar, source: Avatar, attribute: Attribute, rig: Rig) -> Borrowing:
    """Decide how `wearer` gets an attribute of `source`.

    Args:
        wearer: who borrows.
        source: whose attribute it is.
        attribute: what is borrowed.
        rig: that both are bound to.

    Raises:
        PegasusError: BAD_REFERENCE where the two are on different rigs.
    """
    if wearer.rig != source.rig:
        raise PegasusError(
            Reason.BAD_REFERENCE,
            f"one avatar is bound to rig {wearer.rig!r}, the other to {source.rig!r}; fit both on one rig",
        )
    return Borrowing(
        attribute=attribute,
        way=way_of(wearer, attribute, rig),
        shape=rig.mix_shape(wearer.shape, source.shape, attribute),
        source=match_light(source, wearer, rig),
    )


def way_of(wearer: Avatar, attribute: Attribute, rig: Rig) -> Way:
    """How `wearer` borrows an attribute; it does not depend on the source."""
    if attribute in COVERS_SCALP:
        return Way.COVER
    if attribute is Attribute.EYEBROWS:  # hairs on the skin: the rig's axes do not say where hairs grow
        return Way.STRANDS
    return Way.FORM if can_form(wearer, attribute, rig) else Way.SET_IN


def without_motion(points: Avatar) -> Avatar:
    """The points without learned motion and colour change: they move only as the rig does."""
    still = {name: torch.zeros_like(getattr(points, name)) for name in ("position_basis", "colour_basis")}
    return points.with_tensors(still)
