"""Putting another's part on an avatar: Eq. 13 on points bound to one rig.

Both avatars are bound to the same rig, so re-anchoring the borrowed points on the mixed shape aligns them. What that moves
them by is then put into their offsets, and the wearer keeps its own shape: a point of it that is not near the part stays where
it is to the last bit. What is left to do is the seam: fill what the old part leaves bare, and let colours meet.

Legend: N, M points, K shape axes.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import by_form, follow, reformed, tinted
from pegasus_ray.avatar.borrow.complete_scalp import bald
from pegasus_ray.avatar.borrow.hair_under_hat import under_hat
from pegasus_ray.avatar.borrow.match_light import lit_as
from pegasus_ray.avatar.borrow.parts import (
    COVERS_SCALP,
    carried,
    join_group,
    lend,
    lifted,
    part_of_points,
    places_of,
    together,
)
from pegasus_ray.avatar.points.avatar import Avatar, join
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.avatar.points.shading import TERMS
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part

BACKED = (Attribute.NOSE, Attribute.MOUTH)
BACKING = (0.0015, 2.0)
"""How far under a borrowed part its backing lies, in metres, and how much larger its points are."""
UNDERLAY = 0.004
"""How far under the wearer's own features the skin lies that shows where a borrowed one leaves it bare, in metres."""


def wear(wearer: Avatar, source: Avatar, attribute: Attribute, rig: Rig, *, smooth: float = 0.006) -> Avatar:
    """`wearer` with the attribute of `source` (paper Eq. 13): an ordinary avatar.

    Args:
        wearer: whose points all but the attribute's are kept.
        source: whose points of the attribute are taken.
        attribute: what to borrow.
        rig: the rig that both are bound to.
        smooth: metres over which colours are smoothed before borrowed skin takes the wearer's.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the source has no such part; BAD_REFERENCE where the two are on different rigs.
    """
    if wearer.rig != source.rig:
        raise PegasusError(
            Reason.BAD_REFERENCE,
            f"one avatar is bound to rig {wearer.rig!r}, the other to {source.rig!r}; fit both on one rig",
        )
    shape = rig.mix_shape(wearer.shape, source.shape, attribute)
    source = lit_as(source, wearer, rig)
    if attribute in COVERS_SCALP:
        source = carried(source, attribute.part, rig, shape)
    borrowed = _still_unless_face(lend(source, attribute, rig), attribute)
    if by_form(wearer, attribute, rig):
        return reformed(tinted(wearer, source, attribute, rig), attribute, rig, shape)
    mine = together(wearer, attribute.part, rig)
    if attribute in COVERS_SCALP:
        base = bald(wearer, rig) if attribute is Attribute.HAIR else under_hat(wearer, borrowed, rig)
        borrowed = lifted(borrowed, wearer, rig) if attribute is Attribute.HAIR else borrowed
    else:
        skin = wearer.select(part_of_points(wearer) == Part.SKIN)
        base = join_group(wearer.select(~mine), underlay(wearer.select(mine), skin, rig))
    borrowed = recoloured(borrowed, source, wearer, attribute, rig, smooth)
    if not torch.equal(shape, wearer.shape):
        seam = torch.cat([places_of(wearer.select(mine), rig), places_of(borrowed, rig, shape)])
        base, borrowed = follow(base, seam, rig, shape), _reshaped(borrowed, rig, shape, wearer.shape)
    return join(base, _backed(borrowed, rig) if attribute in BACKED else borrowed)


def _reshaped(points: Avatar, rig: Rig, shape: Tensor, stored: Tensor) -> Avatar:
    """Points that stand on the rig of shape `stored` (K,) where they stood on that of `shape` (K,)."""
    moved = points.roots(rig, shape) - points.roots(rig, stored)
    return replace(points, offsets=points.offsets + moved)


def _still_unless_face(points: Avatar, attribute: Attribute) -> Avatar:
    """Hair and hats do not answer to another person's expressions: their motion was learned on the source's."""
    if attribute not in COVERS_SCALP:
        return points
    return replace(
        points,
        position_basis=torch.zeros_like(points.position_basis),
        colour_basis=torch.zeros_like(points.colour_basis),
    )


def underlay(mine: Avatar, skin: Avatar, rig: Rig) -> Avatar:
    """The wearer's own part as bare skin a little under it, so that a smaller borrowed part leaves no hole."""
    anchors = mine.anchors(rig)
    on_skin = rig.parts[mine.triangles] != Part.EYES
    outer = on_skin & (anchors.expression_basis.norm(dim=-1).amax(0) < 0.02) if len(mine) else on_skin
    mine = mine.select(outer)
    if len(mine) == 0 or len(skin) == 0:
        return mine
    anchors = mine.anchors(rig)
    _, near = nearest(anchors.positions, places_of(skin, rig), 12)
    logits = torch.zeros_like(mine.part_logits)
    logits[:, Part.SKIN] = 4.0
    return replace(
        mine,
        offsets=mine.offsets - UNDERLAY * anchors.normals,
        albedo=skin.albedo[near].mean(1),
        colour_basis=torch.zeros_like(mine.colour_basis),
        part_logits=logits,
    )


def recoloured(
    borrowed: Avatar, source: Avatar, wearer: Avatar, attribute: Attribute, rig: Rig, smooth: float = 0.006
) -> Avatar:
    """Borrowed points of nose or brows in the wearer's light, their skin in the wearer's tone; other parts keep their colours."""
    if attribute not in (Attribute.NOSE, Attribute.EYEBROWS) or len(borrowed) == 0:
        return borrowed
    places = places_of(borrowed, rig, wearer.shape)
    part = attribute if attribute is Attribute.NOSE else None
    theirs, own = (_smooth_colour(places, avatar, part, rig, wearer.shape, smooth) for avatar in (source, wearer))
    if attribute is Attribute.NOSE:
        albedo = borrowed.albedo * (own / theirs.clamp(min=0.02)).clamp(0.2, 5.0)
    else:
        light = source.lights[borrowed.groups, 0] / wearer.lights[0, 0].clamp(min=1e-2)
        albedo = _hair_by_hair(borrowed.albedo, theirs, own, light)
    return replace(borrowed, albedo=albedo, lights=wearer.lights[:1].expand(len(source.motions), TERMS, 3))


def _hair_by_hair(albedo: Tensor, theirs: Tensor, own: Tensor, light: Tensor) -> Tensor:
    """Brows (N, 3) taken apart into hair and skin by their darkness, with the wearer's skin `own` in place of `theirs`."""
    brightness, skin = albedo.mean(1), theirs.mean(1)
    hair = albedo[brightness <= brightness.quantile(0.2)].mean(0)
    share = ((skin - brightness) / (skin - hair.mean()).clamp(min=0.02)).clamp(0, 1)[:, None]
    return (1 - share) * own + share * hair * light


def _backed(points: Avatar, rig: Rig) -> Avatar:
    """The points with larger ones of their own colours close behind, so that nothing shows between them."""
    depth, size = BACKING
    places = places_of(points, rig)
    near = nearest(places, places, 8)[1]
    behind = replace(
        points,
        offsets=points.offsets - depth * points.anchors(rig).normals,
        log_radii=points.log_radii + math.log(size),
        albedo=points.albedo[near].mean(1),
    )
    return join_group(points, behind)


def _smooth_colour(
    places: Tensor, avatar: Avatar, attribute: Attribute | None, rig: Rig, shape: Tensor, smooth: float
) -> Tensor:
    """The colour of an avatar's skin, and of a part, around each place (N, 3), (N, 3); weighted by opacity."""
    part = part_of_points(avatar)
    face = avatar.select((part == Part.SKIN) | (part == (attribute.part if attribute else Part.SKIN)))
    distance, near = nearest(places, places_of(face, rig, shape), 48)
    weight = torch.softmax(-distance / smooth, dim=-1) * torch.sigmoid(face.opacity_logits)[near] + 1e-9
    return (face.albedo[near] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
