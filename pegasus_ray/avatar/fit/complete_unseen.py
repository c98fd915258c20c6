"""What the frames hardly show: the colours of points there, and a backing under the skin that closes the gaps between them.

A head that turns further than in its video shows points that were never, or only at a grazing angle, held against a picture.
Their own colours are chance, and nothing drove their neighbours to close up.

Legend: N points, M points of the backing, F triangles, Z motion components.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.evidence import gather_evidence
from pegasus_ray.avatar.points.avatar import BASES, PER_POINT, Avatar, vertex_normals
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.avatar.points.neighbours import distance_to, nearest
from pegasus_ray.rig.model import Rig, surface
from pegasus_ray.schemas.parts import Part

KNOWN = 0.07
"""What a point must be seen for its colour to be believed, of what seen points are on average; half of it counts half."""

THIN = 0.4
"""The same for how its colour changes to be believed, and for there to be no gaps around it."""

SINK, RADIUS = 0.004, 0.005
"""Metres: how deep the backing lies under the skin, and its points' radius."""

MARGIN = 0.01
"""Metres from eyes, brows, mouth and ears within which skin is too thin or too mobile for a backing."""

NEAR_SKIN = 0.008
"""Metres from the rig within which a point counts as skin rather than as hair or cloth over it."""

SHOWN = 0.015
"""The same from which on a point of the backing is not behind the skin but before it, and left out."""

INSIDE = 0.97
"""Share of the frames in which a point of the backing must fall on the person."""


def complete_hidden(
    avatar: Avatar,
    rig: Rig,
    frames: FrameSet,
    chosen: Tensor,  # (n,) frames to look at
    *,
    backing: int,  # points over the whole head, of which those in poorly seen places are kept
    generator: torch.Generator,
) -> Avatar:
    """The avatar with believable colours where `frames` hardly show it, and with a backing there."""
    anchors = avatar.anchors(rig)
    evidence = gather_evidence(avatar, avatar.canonical(anchors), rig, frames, chosen, per_pixel=12)
    unit = evidence.weight[evidence.weight > 0].mean()
    seen = evidence.weight / unit
    known = (seen > KNOWN).nonzero()[:, 0]
    if len(known) < 16:
        return avatar
    avatar = _recoloured(avatar, anchors.positions + avatar.offsets, seen, known)
    if backing == 0:
        return avatar
    layer = _layer(avatar, anchors.positions, rig, seen, known, backing, generator)
    both = _with(avatar, layer)
    looked = gather_evidence(both, both.canonical(both.anchors(rig)), rig, frames, chosen, per_pixel=12)
    fits = (looked.inside > INSIDE) & (looked.weight < SHOWN * unit)
    fits[: len(avatar)] = True
    return both.select(fits)


def _recoloured(avatar: Avatar, places: Tensor, seen: Tensor, known: Tensor) -> Avatar:
    """Points (N,) that are not `known` take after their nearest known ones, the more the less they were seen.

    How a colour changes with the motion needs more looks than the colour: it is taken from the well-seen, by all that are not.
    """
    albedo, colour_basis = avatar.albedo.clone(), avatar.colour_basis.clone()
    for some in torch.split((seen <= KNOWN).nonzero()[:, 0], 2048):
        near, share = _nearest(places[some], places[known], 8, power=1)
        trust = seen[some] / (seen[some] + KNOWN / 2)
        albedo[some] = torch.lerp((share[..., None] * avatar.albedo[known[near]]).sum(1), albedo[some], trust[:, None])
    well = (seen > THIN).nonzero()[:, 0]
    for some in torch.split((seen <= THIN).nonzero()[:, 0], 2048) if len(well) else ():
        near, share = _nearest(places[some], places[well], 8, power=1)
        trust = seen[some] / (seen[some] + THIN / 2)
        borrowed = (share[..., None] * avatar.colour_basis[:, well[near]]).sum(2)
        colour_basis[:, some] = torch.lerp(borrowed, colour_basis[:, some], trust[:, None])
    return replace(avatar, albedo=albedo, colour_basis=colour_basis)


def _layer(
    avatar: Avatar, anchored: Tensor, rig: Rig, seen: Tensor, known: Tensor, count: int, generator: torch.Generator
) -> Avatar:
    """Opaque points (M,) a little under the skin of head and neck where `avatar` was poorly seen, coloured like what is near."""
    vertices = rig.shaped(avatar.shape)
    triangles, barycentric = _on_skin(rig, vertices, count, generator)
    places = surface(vertices, rig.faces, triangles, barycentric)
    skin = (avatar.offsets.norm(dim=1) < NEAR_SKIN).nonzero()[:, 0]
    near, _ = _nearest(places, anchored[skin], 12, power=1)
    poor = seen[skin[near]].mean(1) < THIN
    triangles, barycentric, places = triangles[poor], barycentric[poor], places[poor]

    believed = known[avatar.offsets[known].norm(dim=1) < NEAR_SKIN]
    near, _ = _nearest(places, anchored[believed], 8, power=1)
    close = (places - anchored[believed[near[:, 0]]]).norm(dim=1) < 0.01
    raised = torch.where(close[:, None], avatar.offsets[believed[near]].mean(1), torch.zeros_like(places))
    near, share = _nearest(places + raised, (anchored + avatar.offsets)[known], 6, power=2)
    near = known[near]

    def borrowed(values: Tensor) -> Tensor:
        return (share[..., None] * values[near]).sum(1)

    normals = surface(vertex_normals(vertices, rig.faces), rig.faces, triangles, barycentric)
    size = len(triangles)
    return replace(
        avatar,
        triangles=triangles,
        barycentric=barycentric,
        offsets=raised - SINK * torch.nn.functional.normalize(normals, dim=-1),
        log_radii=torch.full_like(places[:, 0], RADIUS).log(),
        opacity_logits=torch.full_like(places[:, 0], 5.0),
        albedo=borrowed(avatar.albedo),
        part_logits=borrowed(avatar.part_logits),
        position_basis=avatar.position_basis.new_zeros(avatar.position_basis.shape[0], size, 3),
        colour_basis=torch.stack([borrowed(component) for component in avatar.colour_basis]),
        groups=avatar.groups.new_zeros(size),
    )


def _on_skin(rig: Rig, vertices: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Triangles (M,) and barycentric coordinates (M, 3), even over the skin of head and neck away from what is fine."""
    corners = vertices[rig.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    fine = sum(rig.parts == part for part in (Part.EYES, Part.EYEBROWS, Part.MOUTH, Part.EARS)) > 0
    plain = (rig.parts == Part.SKIN) | (rig.parts == Part.NECK)
    middles = corners.mean(1)
    away = distance_to(middles, middles[fine]) > MARGIN
    odds = (area * plain * away).cpu()
    triangles = torch.multinomial(odds, count, replacement=True, generator=generator).to(area.device)
    u, v = torch.rand(2, count, generator=generator).to(area.device)
    root = u.sqrt()
    return triangles, torch.stack([1 - root, root * (1 - v), root * v], dim=-1)


def _nearest(places: Tensor, others: Tensor, count: int, *, power: int) -> tuple[Tensor, Tensor]:
    """Of each place (M, 3) the nearest others (M, count) and their shares, which fall with the distance's power."""
    distance, near = nearest(places, others, count)
    share = (distance + 1e-3) ** -power
    return near, share / share.sum(1, keepdim=True)


def _with(avatar: Avatar, layer: Avatar) -> Avatar:
    """Both avatars' points, of one code and light."""
    together = {name: torch.cat([getattr(avatar, name), getattr(layer, name)]) for name in PER_POINT}
    together |= {name: torch.cat([getattr(avatar, name), getattr(layer, name)], dim=1) for name in BASES}
    return avatar.with_tensors(together)
