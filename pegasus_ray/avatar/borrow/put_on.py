"""Putting another's attribute on an avatar: Eq. 13 on points bound to one rig.

Both avatars are bound to the same rig, so anchoring the borrowed points on the mixed shape aligns them. The wearer keeps its own
shape: what the mixed shape moves is written into the offsets of the points near the part, and every point far from it stays where
it is to the last bit.

Legend: N points, K shape axes.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import follow, reform, tint
from pegasus_ray.avatar.borrow.decide import Way, decide, without_motion
from pegasus_ray.avatar.borrow.parts import expect_attribute, members
from pegasus_ray.avatar.borrow.recolour import SKIN_SMOOTHING_METRES, recolour
from pegasus_ray.avatar.points.avatar import Avatar, join, join_group
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute, Part

BACKED: Final = (Attribute.NOSE, Attribute.MOUTH)
"""Attributes that, when set in, get larger points of their own colours behind them, so that nothing shows through."""
BACKING_DEPTH_METRES: Final = 0.0015
"""How far behind them those points lie."""
BACKING_SIZE: Final = 2.0
"""Their radius, relative to that of the points in front of them."""
BACKING_NEIGHBOURS: Final = 8
"""A point of the backing has the mean colour of this many points."""
UNDERLAY_DEPTH_METRES: Final = 0.004
"""How far under the wearer's own feature skin is laid, which shows where a smaller borrowed feature leaves it bare."""
UNDERLAY_NEIGHBOURS: Final = 12
"""A point of that skin has the mean colour of this many points of skin."""
MAX_UNDERLAY_MOTION: Final = 0.02
"""Metres. Places that a unit of some expression moves farther get no such skin: lids and lips would drag it into view."""


def put_on(
    wearer: Avatar, source: Avatar, attribute: Attribute, rig: Rig, *, smooth: float = SKIN_SMOOTHING_METRES
) -> Avatar:
    """`wearer` with the attribute of `source` (paper Eq. 13): an ordinary avatar.

    Args:
        wearer: who puts the attribute on; all their other points are kept.
        source: whose attribute is taken.
        attribute: what to borrow.
        rig: the rig that both are bound to.
        smooth: metres over which skin colours are averaged where borrowed skin is matched to the wearer's.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the source has no such part; BAD_REFERENCE where the two are on different rigs.
    """
    how = decide(wearer, source, attribute, rig)
    expect_attribute(source, attribute)
    if how.way is Way.FORM:
        return reform(tint(wearer, how.source, attribute, rig), attribute, rig, how.shape)
    borrowed = how.lent(rig)
    if not how.keeps_motion:
        borrowed = without_motion(borrowed)
    mine = members(wearer, attribute.part, rig)
    if how.way is Way.COVER:
        base = how.bare_head(wearer, borrowed, rig)
        borrowed = how.on_clothes(borrowed, wearer, rig)
    else:
        skin = wearer.select(wearer.parts == Part.SKIN)
        base = join_group(wearer.select(~mine), underlay(wearer.select(mine), skin, rig))
    borrowed = recolour(borrowed, how, wearer, rig, smooth)
    if not torch.equal(how.shape, wearer.shape):
        seam = torch.cat([wearer.select(mine).places(rig), borrowed.places(rig, how.shape)])
        base, borrowed = follow(base, seam, rig, how.shape), _anchored(borrowed, rig, how.shape, wearer.shape)
    return join(base, _backed(borrowed, rig) if attribute in BACKED else borrowed)


def underlay(mine: Avatar, skin: Avatar, rig: Rig) -> Avatar:
    """The points of the wearer's own part as bare skin a little below it, so that a smaller borrowed part leaves no hole.

    Args:
        mine: the wearer's points of the part.
        skin: the wearer's skin, whose colours they take.
        rig: that both are bound to.
    """
    anchors = mine.anchors(rig)
    outer = rig.parts[mine.triangles] != Part.EYES
    if len(mine):
        outer = outer & (anchors.expression_basis.norm(dim=-1).amax(0) < MAX_UNDERLAY_MOTION)
    mine = mine.select(outer)
    if len(mine) == 0 or len(skin) == 0:
        return mine
    anchors = mine.anchors(rig)
    _, near = nearest(anchors.positions, skin.places(rig), UNDERLAY_NEIGHBOURS)
    logits = torch.zeros_like(mine.part_logits)
    logits[:, Part.SKIN] = 4.0
    return replace(
        mine,
        offsets=mine.offsets - UNDERLAY_DEPTH_METRES * anchors.normals,
        albedo=skin.albedo[near].mean(1),
        colour_basis=torch.zeros_like(mine.colour_basis),
        part_logits=logits,
    )


def _anchored(points: Avatar, rig: Rig, shape: Tensor, stored: Tensor) -> Avatar:
    """The points where they lie on the rig of `shape` (K,), but with offsets measured from the rig of shape `stored` (K,)."""
    moved = points.roots(rig, shape) - points.roots(rig, stored)
    return replace(points, offsets=points.offsets + moved)


def _backed(points: Avatar, rig: Rig) -> Avatar:
    """The points with larger ones of their own colours close behind them."""
    places = points.places(rig)
    near = nearest(places, places, BACKING_NEIGHBOURS)[1]
    behind = replace(
        points,
        offsets=points.offsets - BACKING_DEPTH_METRES * points.anchors(rig).normals,
        log_radii=points.log_radii + math.log(BACKING_SIZE),
        albedo=points.albedo[near].mean(1),
    )
    return join_group(points, behind)
