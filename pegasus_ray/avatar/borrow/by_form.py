"""Borrowing a facial feature by its form and colours: the wearer's own points, moved and recoloured.

A feature's points are learned together with those around it: the edge of an eyelid, say, is drawn by both. Cut out and set into
another face, they no longer draw it. What faces on one rig do share is the rig's surface. So of a nose, a mouth or a pair of eyes
two things are borrowed: the values on the rig's identity axes for it, and its colours at the same places of the surface. Pores
and lashes stay the wearer's.

Legend: N points, M other points, K shape axes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.parts import has_attribute
from pegasus_ray.avatar.borrow.skin_light import turned_normals
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.avatar.points.shading import shade
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute, Part

FORMS: Final = (Attribute.NOSE, Attribute.EYES, Attribute.MOUTH)
"""The attributes that can be borrowed by form."""
COLOUR_SMOOTHING_METRES: Final = {Attribute.EYES: 0.003, Attribute.MOUTH: 0.008}
"""Features that bring their colours, and the deviation of the Gaussian that smooths these. A nose keeps the wearer's skin."""
MAX_DISTANCE_FROM_PART_METRES: Final = 0.008
"""A point labelled as a feature counts as mislabelled if it lies farther than this from the feature's triangles of the rig."""
COLOUR_NEIGHBOURS: Final = 32
"""Points whose colours are averaged around a place."""
LEAST_GAIN, MOST_GAIN = 0.1, 8.0
"""Bounds of the factor by which a point's colour is changed."""
LEAST_LIGHT_GAIN, MOST_LIGHT_GAIN = 0.3, 3.0
"""Bounds of the factor by which it is changed because the new form is shaded differently."""
FOLLOW_METRES, IGNORE_METRES = 0.008, 0.016
"""The wearer's points follow a new shape fully up to the first distance from the part, and not at all beyond the second."""


def can_form(wearer: Avatar, attribute: Attribute, rig: Rig) -> bool:
    """Whether the rig has identity axes for the attribute, and the wearer has enough points of it for them to move."""
    if attribute not in FORMS or not bool(rig.axes_of(attribute).any()):
        return False
    return has_attribute(wearer.select(in_place(wearer, attribute.part, rig)), attribute)


def tint(wearer: Avatar, source: Avatar, attribute: Attribute, rig: Rig) -> Avatar:
    """The wearer with a feature in the source's colours at the same places of the rig; unchanged if the feature brings none.

    Args:
        wearer: one for whom `can_form` holds.
        source: whose colours are taken.
        attribute: the feature.
        rig: that both are bound to.
    """
    if attribute not in COLOUR_SMOOTHING_METRES:
        return wearer
    chosen = in_place(wearer, attribute.part, rig).nonzero()[:, 0]
    mine, theirs = wearer.select(chosen), source.select(source.parts == attribute.part)
    places, reach = mine.places(rig), COLOUR_SMOOTHING_METRES[attribute]
    light = theirs.lights[theirs.groups, 0] / wearer.lights[0, 0].clamp(min=1e-2)
    own = _smoothed(places, mine, mine.albedo, places, reach)
    new = _smoothed(places, theirs, theirs.albedo * light, theirs.places(rig, wearer.shape), reach)
    gain = (new / own.clamp(min=0.02)).clamp(LEAST_GAIN, MOST_GAIN)
    albedo, basis = wearer.albedo.clone(), wearer.colour_basis.clone()
    albedo[chosen] *= gain
    basis[:, chosen] *= gain
    return wearer.with_tensors({"albedo": albedo, "colour_basis": basis})


def reform(wearer: Avatar, attribute: Attribute, rig: Rig, shape: Tensor) -> Avatar:
    """The wearer with the form that a part has under `shape` (K,), on their own shape otherwise.

    Points near the part are moved. They are still drawn with the normals of the wearer's own shape, so the change of shading
    that the new form brings is multiplied into their albedo.
    """
    mine = wearer.select(in_place(wearer, attribute.part, rig))
    moved = follow(wearer, torch.cat([mine.places(rig), mine.places(rig, shape)]), rig, shape)
    own, new = wearer.anchors(rig), wearer.anchors(rig, shape)
    terms = [torch.stack([shade(n, wearer.lights[0]) for n in turned_normals(a.normals)]).mean(0) for a in (own, new)]
    touched = (moved.offsets != wearer.offsets).any(1, keepdim=True)
    gain = (terms[1] / terms[0].clamp(min=0.05)).clamp(LEAST_LIGHT_GAIN, MOST_LIGHT_GAIN)
    return replace(moved, albedo=torch.where(touched, wearer.albedo * gain, wearer.albedo))


def in_place(avatar: Avatar, part: Part, rig: Rig) -> Tensor:
    """The points (N,) of a part that lie where the rig has that part, (N,) bool: a speck labelled eye on a cheek does not."""
    found = avatar.parts == part
    corners = rig.faces[rig.parts == part]
    if bool(found.any()) and len(corners):
        middles = rig.shaped(avatar.shape)[corners].mean(1)
        chosen = found.nonzero()[:, 0]
        away = nearest(avatar.places(rig)[chosen], middles, 1)[0][:, 0]
        found[chosen] = away < MAX_DISTANCE_FROM_PART_METRES
    return found


def follow(base: Avatar, part: Tensor, rig: Rig, shape: Tensor) -> Avatar:
    """The avatar, with points near the places `part` (M, 3) moved as the rig moves from the avatar's shape to `shape` (K,)."""
    distance, _ = nearest(base.places(rig), part, 1)
    share = ((IGNORE_METRES - distance) / (IGNORE_METRES - FOLLOW_METRES)).clamp(0, 1)
    moved = base.roots(rig, shape) - base.roots(rig)
    return replace(base, offsets=torch.where(share > 0, base.offsets + share * moved, base.offsets))


def _smoothed(places: Tensor, points: Avatar, colours: Tensor, at: Tensor, reach: float) -> Tensor:
    """The mean colour (N, 3) around `places` (N, 3) of points that lie at `at` (M, 3), weighted by distance and opacity.

    Their colours are `colours` (M, 3); `reach` is the Gaussian's deviation in metres.
    """
    distance, near = nearest(places, at, COLOUR_NEIGHBOURS)
    weight = torch.softmax(-(distance / reach).square() / 2, dim=-1)
    weight = weight * torch.sigmoid(points.opacity_logits)[near] + 1e-9
    return (colours[near] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
