"""Finding the points of one part of an avatar, and selecting those to lend.

Legend: N points.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar, join_group
from pegasus_ray.avatar.points.neighbours import distance_to, nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part

LEAST_POINTS: Final = 20
"""With fewer points of an attribute an avatar counts as not showing it."""
VOTING_NEIGHBOURS: Final = 16
"""How many nearest points decide whether a point of a part is an isolated speck."""
LEAST_NEIGHBOUR_SHARE: Final = {Part.MOUTH: 0.3, Part.HAIR: 0.15, Part.HAT: 0.3}
"""A point counts as a speck if less than this share of its neighbours' opacity belongs to its own part.

Only large parts are listed: brows are so thin that most neighbours of a hair are skin.
"""
MAX_MOUTH_DISTANCE: Final = 2.5
"""A point labelled mouth counts as a speck if it is farther from the mouth's middle than this many median distances."""
BROW_SKIN_REACH_METRES: Final = 0.002
"""Skin within this distance of a brow's points is lent with them."""
BROW_LIFT_METRES: Final = 0.001
"""How far borrowed brows, with their skin, lie above the lender's surface."""
MAX_STRAY_METRES: Final = 0.012
"""A point whose third neighbour is farther away hovers alone, and is not lent."""


def has_attribute(avatar: Avatar, attribute: Attribute) -> bool:
    """Whether the avatar has enough points of an attribute to lend it."""
    return int((avatar.parts == attribute.part).sum()) >= LEAST_POINTS


def expect_attribute(avatar: Avatar, attribute: Attribute) -> None:
    """Raise PegasusError MISSING_ATTRIBUTE where the avatar does not show an attribute."""
    if not has_attribute(avatar, attribute):
        raise PegasusError(
            Reason.MISSING_ATTRIBUTE, f"the avatar shows no {attribute.value} to borrow; choose another source"
        )


def lend(avatar: Avatar, attribute: Attribute, rig: Rig) -> Avatar:
    """The points of one attribute alone, without specks and without points that hover far from all others.

    Brows bring the skin that runs through them, and both lie `BROW_LIFT_METRES` higher: on another face the wearer's skin would
    otherwise come up between the hairs.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the avatar has no such part.
    """
    expect_attribute(avatar, attribute)
    lent = avatar.select(members(avatar, attribute.part, rig))
    places = lent.places(rig)
    lent = lent.select(nearest(places, places, 4)[0][:, -1] < MAX_STRAY_METRES)
    return _with_skin(lent, avatar, rig) if attribute is Attribute.EYEBROWS else lent


def members(avatar: Avatar, part: Part, rig: Rig) -> Tensor:
    """Which points make up a part, (N,) bool: those labelled so, without isolated specks such as a bit of lip on a cheek."""
    found = avatar.parts == part
    if part in LEAST_NEIGHBOUR_SHARE and bool(found.any()):
        places, chosen = avatar.places(rig), found.nonzero()[:, 0]
        near = nearest(places[chosen], places, VOTING_NEIGHBOURS)[1]
        opacity = torch.sigmoid(avatar.opacity_logits)[near]
        found[chosen] = (found[near] * opacity).sum(1) > LEAST_NEIGHBOUR_SHARE[part] * opacity.sum(1)
        if part is Part.MOUTH and bool(found.any()):
            away = (places - places[found].median(0).values).norm(dim=1)
            found &= away < MAX_MOUTH_DISTANCE * away[found].median()
    return found


def _with_skin(brows: Avatar, avatar: Avatar, rig: Rig) -> Avatar:
    """Brows together with the skin that runs through them, both a little above the lender's surface."""
    skin = avatar.select(avatar.parts == Part.SKIN)
    if len(brows) == 0:
        return brows
    within = distance_to(skin.places(rig), brows.places(rig)) < BROW_SKIN_REACH_METRES
    brows = join_group(brows, skin.select(within))
    return replace(brows, offsets=brows.offsets + BROW_LIFT_METRES * brows.anchors(rig).normals)
