"""Completing what the frames hardly show: the colours of points there, and a backing layer under the skin that closes gaps.

When a head turns further than in its video, it shows points that were never, or only at a grazing angle, compared with an image.
Their colours are random, and nothing made their neighbours close up.

Legend: N points, M points of the backing, F triangles, Z motion components.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.fit.evidence import gather_evidence
from pegasus_ray.avatar.points.avatar import Avatar, join_group, vertex_normals
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.avatar.points.neighbours import distance_to, nearest
from pegasus_ray.rig.model import Rig, interpolate_on_surface
from pegasus_ray.schemas.parts import Part

MIN_SEEN_FOR_COLOUR = 0.07
"""How much a point must be seen, relative to the mean over seen points, to keep its colour; else neighbours are blended in."""

MIN_SEEN_FOR_MOTION = 0.4
"""How much it must be seen to keep its colour's change with the motion code, and for no backing to be needed under it."""

MIN_KNOWN_POINTS = 16
"""Fewer points with a known colour are too few to complete others from."""

BACKING_DEPTH_METRES = 0.004
"""How deep the backing lies under the skin."""

BACKING_RADIUS_METRES = 0.005
"""Radius of the backing's points."""

BACKING_OPACITY_LOGIT = 5.0
"""Opacity logit of the backing's points: nearly opaque."""

BACKING_MARGIN_METRES = 0.01
"""There is no backing nearer than this to eyes, brows, mouth and ears, where skin is too thin or moves too much."""

MAX_SKIN_OFFSET_METRES = 0.008
"""Distance from the rig up to which a point counts as skin rather than as hair or cloth over it."""

MAX_RAISED_DISTANCE_METRES = 0.01
"""The backing follows the offsets of skin points up to this far away; further away it lies under the rig itself."""

MAX_BACKING_SEEN = 0.015
"""How much a backing point may be seen, relative to the mean over seen points; one that is seen more lies over the skin."""

MIN_BACKING_INSIDE = 0.97
"""Share of the frames in which a point of the backing must fall on the person."""

EVIDENCE_PER_PIXEL = 12
"""Nearest points that are credited with a pixel: more than for labels, so that points close under others are seen too."""


def complete_unseen(
    avatar: Avatar,
    rig: Rig,
    frames: FrameSet,
    chosen: Tensor,  # (n,) frames to look at
    *,
    backing: int,  # points over the whole head, of which those in poorly seen places are kept
    generator: torch.Generator,
) -> Avatar:
    """The avatar with plausible colours where `frames` hardly show it, and with a backing there."""
    anchors = avatar.anchors(rig)
    evidence = gather_evidence(avatar, avatar.canonical(anchors), rig, frames, chosen, per_pixel=EVIDENCE_PER_PIXEL)
    unit = evidence.weight[evidence.weight > 0].mean()
    seen = evidence.weight / unit
    known = (seen > MIN_SEEN_FOR_COLOUR).nonzero()[:, 0]
    if len(known) < MIN_KNOWN_POINTS:
        return avatar
    avatar = _recolour(avatar, anchors.positions + avatar.offsets, seen, known)
    if backing == 0:
        return avatar
    layer = _backing(avatar, anchors.positions, rig, seen, known, backing, generator)
    both = join_group(avatar, layer)
    checked = gather_evidence(
        both, both.canonical(both.anchors(rig)), rig, frames, chosen, per_pixel=EVIDENCE_PER_PIXEL
    )
    fits = (checked.inside > MIN_BACKING_INSIDE) & (checked.weight < MAX_BACKING_SEEN * unit)
    fits[: len(avatar)] = True
    return both.select(fits)


def _recolour(avatar: Avatar, places: Tensor, seen: Tensor, known: Tensor) -> Avatar:
    """Blend the colours of points (N,) that are not `known` with their nearest known ones', the more the less they were seen.

    How a colour changes with the motion needs more views than the colour. So it is blended with well-seen points, for all points
    that are not well seen.
    """
    albedo, colour_basis = avatar.albedo.clone(), avatar.colour_basis.clone()
    for some in torch.split((seen <= MIN_SEEN_FOR_COLOUR).nonzero()[:, 0], 2048):
        near, share = _nearest_shares(places[some], places[known], 8, power=1)
        trust = seen[some] / (seen[some] + MIN_SEEN_FOR_COLOUR / 2)
        albedo[some] = torch.lerp((share[..., None] * avatar.albedo[known[near]]).sum(1), albedo[some], trust[:, None])
    well = (seen > MIN_SEEN_FOR_MOTION).nonzero()[:, 0]
    for some in torch.split((seen <= MIN_SEEN_FOR_MOTION).nonzero()[:, 0], 2048) if len(well) else ():
        near, share = _nearest_shares(places[some], places[well], 8, power=1)
        trust = seen[some] / (seen[some] + MIN_SEEN_FOR_MOTION / 2)
        borrowed = (share[..., None] * avatar.colour_basis[:, well[near]]).sum(2)
        colour_basis[:, some] = torch.lerp(borrowed, colour_basis[:, some], trust[:, None])
    return replace(avatar, albedo=albedo, colour_basis=colour_basis)


def _backing(
    avatar: Avatar, anchored: Tensor, rig: Rig, seen: Tensor, known: Tensor, count: int, generator: torch.Generator
) -> Avatar:
    """Opaque points (M,) a little under the skin of head and neck where `avatar` was poorly seen, coloured like nearby points.

    Args:
        avatar: the points over it.
        anchored: (N, 3) metres, where they are bound.
        rig: the rig that they are bound to.
        seen: (N,) how much they were seen, relative to the mean over seen points.
        known: indices of those whose colour is known.
        count: points that are scattered over the whole head; only those in poorly seen places are returned.
        generator: the source of random numbers.
    """
    vertices = rig.shaped(avatar.shape)
    triangles, barycentric = _scatter_on_skin(rig, vertices, count, generator)
    places = interpolate_on_surface(vertices, rig.faces, triangles, barycentric)
    skin = (avatar.offsets.norm(dim=1) < MAX_SKIN_OFFSET_METRES).nonzero()[:, 0]
    near, _ = _nearest_shares(places, anchored[skin], 12, power=1)
    poor = seen[skin[near]].mean(1) < MIN_SEEN_FOR_MOTION
    triangles, barycentric, places = triangles[poor], barycentric[poor], places[poor]

    known_skin = known[avatar.offsets[known].norm(dim=1) < MAX_SKIN_OFFSET_METRES]
    near, _ = _nearest_shares(places, anchored[known_skin], 8, power=1)
    close = (places - anchored[known_skin[near[:, 0]]]).norm(dim=1) < MAX_RAISED_DISTANCE_METRES
    raised = torch.where(close[:, None], avatar.offsets[known_skin[near]].mean(1), torch.zeros_like(places))
    near, share = _nearest_shares(places + raised, (anchored + avatar.offsets)[known], 6, power=2)
    near = known[near]

    def borrowed(values: Tensor) -> Tensor:
        return (share[..., None] * values[near]).sum(1)

    normals = interpolate_on_surface(vertex_normals(vertices, rig.faces), rig.faces, triangles, barycentric)
    size = len(triangles)
    return replace(
        avatar,
        triangles=triangles,
        barycentric=barycentric,
        offsets=raised - BACKING_DEPTH_METRES * torch.nn.functional.normalize(normals, dim=-1),
        log_radii=torch.full_like(places[:, 0], BACKING_RADIUS_METRES).log(),
        opacity_logits=torch.full_like(places[:, 0], BACKING_OPACITY_LOGIT),
        albedo=borrowed(avatar.albedo),
        part_logits=borrowed(avatar.part_logits),
        position_basis=avatar.position_basis.new_zeros(avatar.position_basis.shape[0], size, 3),
        colour_basis=torch.stack([borrowed(component) for component in avatar.colour_basis]),
        groups=avatar.groups.new_zeros(size),
    )


def _scatter_on_skin(rig: Rig, vertices: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Triangles (M,) and barycentric coordinates (M, 3), even over the skin of head and neck away from facial features."""
    corners = vertices[rig.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1)
    features = sum(rig.parts == part for part in (Part.EYES, Part.EYEBROWS, Part.MOUTH, Part.EARS)) > 0
    plain = (rig.parts == Part.SKIN) | (rig.parts == Part.NECK)
    middles = corners.mean(1)
    away = distance_to(middles, middles[features]) > BACKING_MARGIN_METRES
    odds = (area * plain * away).cpu()
    triangles = torch.multinomial(odds, count, replacement=True, generator=generator).to(area.device)
    u, v = torch.rand(2, count, generator=generator).to(area.device)
    root = u.sqrt()
    return triangles, torch.stack([1 - root, root * (1 - v), root * v], dim=-1)


def _nearest_shares(places: Tensor, others: Tensor, count: int, *, power: int) -> tuple[Tensor, Tensor]:
    """For each place (M, 3) its nearest others (M, count) and their shares, which fall with a power of the distance."""
    distance, near = nearest(places, others, count)
    share = (distance + 1e-3) ** -power
    return near, share / share.sum(1, keepdim=True)
