"""Borrowing a facial feature as form and colour: the wearer's own points, moved as the rig's axes ask, in the other's colours.

A feature's points are a mosaic that was learned where it lies. Cut out and set into another face they crumble: every lid and lip
line is half the neighbours' doing. What all faces of one rig share is the surface, so a nose, a mouth or a pair of eyes is taken
as its form (the rig's own axes for it) and as its colours at the same places of the surface. Pores and lashes stay the wearer's.

Legend: N, M points, K shape axes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.parts import has_attribute, part_of_points, places_of
from pegasus_ray.avatar.borrow.skin_light import turned_normals
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.avatar.points.shading import shade
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute, Part

FORMS: Final = (Attribute.NOSE, Attribute.EYES, Attribute.MOUTH)
"""What is borrowed by form. Brows are not: they are hairs, wherever the form of the forehead puts them."""
COLOURED: Final = {Attribute.EYES: 0.003, Attribute.MOUTH: 0.008}
"""Over how many metres the colours of those are smoothed that bring their own; a nose is skin, which stays the wearer's."""
STRAY: Final = 0.008
"""Metres from the rig's own surface of a part beyond which what passes for the part is none."""
AMONG: Final = 32
"""Points whose colours are looked at around a place."""
GAIN: Final = (0.1, 8.0)
"""By how much a colour may change at most."""
REACH: Final = (0.008, 0.016)
"""How far from a borrowed part the wearer's points follow its shape wholly, and beyond which not at all, in metres."""


def by_form(wearer: Avatar, attribute: Attribute, rig: Rig) -> bool:
    """Whether the attribute is borrowed by form: where the rig's axes say whose they are, and the wearer shows one to form."""
    if attribute not in FORMS or not bool(rig.axes_of(attribute).any()):
        return False
    return has_attribute(wearer.select(in_place(wearer, attribute.part, rig)), attribute)


def tinted(wearer: Avatar, source: Avatar, attribute: Attribute, rig: Rig) -> Avatar:
    """The wearer, of whom `by_form` is true, with the feature's points in the source's colours at the same places of the rig."""
    if attribute not in COLOURED:
        return wearer
    chosen = in_place(wearer, attribute.part, rig).nonzero()[:, 0]
    mine, theirs = wearer.select(chosen), source.select(part_of_points(source) == attribute.part)
    places, reach = places_of(mine, rig), COLOURED[attribute]
    light = theirs.lights[theirs.groups, 0] / wearer.lights[0, 0].clamp(min=1e-2)
    own = _smoothed(places, mine, mine.albedo, places, reach)
    new = _smoothed(places, theirs, theirs.albedo * light, places_of(theirs, rig, wearer.shape), reach)
    gain = (new / own.clamp(min=0.02)).clamp(*GAIN)
    albedo, basis = wearer.albedo.clone(), wearer.colour_basis.clone()
    albedo[chosen] *= gain
    basis[:, chosen] *= gain
    return wearer.with_tensors({"albedo": albedo, "colour_basis": basis})


def reformed(wearer: Avatar, attribute: Attribute, rig: Rig, shape: Tensor) -> Avatar:
    """The wearer, on their own shape, with the part's form of `shape` (K,): points near it moved, and lit as it asks."""
    mine = wearer.select(in_place(wearer, attribute.part, rig))
    moved = follow(wearer, torch.cat([places_of(mine, rig), places_of(mine, rig, shape)]), rig, shape)
    own, new = wearer.anchors(rig), wearer.anchors(rig, shape)
    terms = [torch.stack([shade(n, wearer.lights[0]) for n in turned_normals(a.normals)]).mean(0) for a in (own, new)]
    touched = (moved.offsets != wearer.offsets).any(1, keepdim=True)
    gain = (terms[1] / terms[0].clamp(min=0.05)).clamp(0.3, 3.0)
    return replace(moved, albedo=torch.where(touched, wearer.albedo * gain, wearer.albedo))


def in_place(avatar: Avatar, part: Part, rig: Rig) -> Tensor:
    """The points (N,) of a part that lie where the rig has it: a speck of eye on a cheek is none."""
    found = part_of_points(avatar) == part
    corners = rig.faces[rig.parts == part]
    if bool(found.any()) and len(corners):
        vertices = rig.shaped(avatar.shape)
        chosen = found.nonzero()[:, 0]
        found[chosen] = nearest(places_of(avatar, rig)[chosen], vertices[corners].mean(1), 1)[0][:, 0] < STRAY
    return found


def follow(base: Avatar, part: Tensor, rig: Rig, shape: Tensor) -> Avatar:
    """The wearer's points gone along with the part's (M, 3) change of shape: wholly beside it, not at all beyond `REACH`."""
    near, far = REACH
    distance, _ = nearest(places_of(base, rig), part, 1)
    share = ((far - distance) / (far - near)).clamp(0, 1)
    moved = base.roots(rig, shape) - base.roots(rig)
    return replace(base, offsets=torch.where(share > 0, base.offsets + share * moved, base.offsets))


def _smoothed(places: Tensor, points: Avatar, colours: Tensor, at: Tensor, reach: float) -> Tensor:
    """The mean colour (N, 3) around `places` (N, 3) of points that lie `at` (M, 3), by distance and opacity."""
    distance, near = nearest(places, at, AMONG)
    weight = torch.softmax(-(distance / reach).square() / 2, dim=-1)
    weight = weight * torch.sigmoid(points.opacity_logits)[near] + 1e-9
    return (colours[near] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
