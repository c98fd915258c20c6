"""What hair hid, made anew once it is taken off: skin in the light and tone of the skin, cloth like the cloth nearby.

Legend: N points, M points of the hair, F triangles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.parts import join_group, part_of_points, places_of, together
from pegasus_ray.avatar.borrow.skin_light import albedo_under, skin_light
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.initialize import regions
from pegasus_ray.avatar.points.neighbours import distance_to, nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

FRINGE: Final = 0.06
"""How far before the skin, in metres, hair still shades and hides it."""
AROUND_HAIR: Final = 0.02
"""How far from hair, in metres, skin may still be taken for soiled by it: beyond that it stays as it is."""
FACING: Final = 0.3
"""How far skin's normal must point forward to have been seen where no hair lies before it."""
REACH: Final = 0.006
"""How near, in metres across as seen from the front, hair must lie before skin to cover it."""
STANDS_OFF: Final = 0.08
"""How far over the surface that it grows from, in metres, hair may stand and hide it."""
UNDER_HAIR: Final = 0.012
"""How near taken hair, or its roots, a surface must be to need completion, in metres."""
GAP: Final = 0.004
"""Metres to the nearest point that was kept beyond which a surface needs completion."""
SHADED: Final = 0.72
"""Of the face's tone: darker skin above the eyes has learned a fringe's strands and shade."""
CAST: Final = 0.045
"""How far below its tips, in metres, a fringe's shade falls."""
ASIDE: Final = 0.01
"""And how far to the side."""
LEAST_LIT: Final = 200
"""Points of skin out of that shade that are enough to tell the light by."""
LOCAL: Final = 0.3
"""Share of skin nearby, against skin as a whole, in the tone of skin far from any."""
NEARBY: Final = 0.01
"""How near, in metres, it is not far."""
LAYERS: Final = ((0.0015, 0.0036), (0.005, 0.0070))
"""Of the surface that is made, and of its backing: metres under the rig, and radius of its points."""
OVERLAP: Final = 2.56
"""How often the points of a layer cover its surface."""
COVERED: Final = (Part.SKIN, Part.NECK, Part.CLOTH)
"""Parts that hair lies on."""


def bald(avatar: Avatar, rig: Rig) -> Avatar:
    """The avatar without hair and hat, what they hid completed from the rig; specks that pass for hair on a cheek stay."""
    covers = together(avatar, Part.HAIR, rig) | together(avatar, Part.HAT, rig)
    covers |= (part_of_points(avatar) == Part.HAIR) & _brow_and_scalp(avatar, rig)[avatar.triangles]
    return uncover(avatar.select(~covers), avatar.select(covers), rig)


def uncover(avatar: Avatar, hair: Avatar, rig: Rig, *, keep_skin: bool = False) -> Avatar:
    """The avatar that `hair` was taken off, with what it hid made anew, and skin behind a fringe cleared of its colour.

    With `keep_skin` the skin beside the hair stays where it is, in its cleared colour: for an avatar that may put its own hair
    on again, whose edge it fits.
    """
    if len(hair) == 0:
        return avatar
    soiled = _soiled(avatar, hair, rig)
    if keep_skin:
        soiled &= ~_is_brow(avatar, rig)
    kept = avatar.select(~soiled)
    return join_group(clear_skin(kept, hair, rig), _completed(kept, hair, rig))


def _soiled(avatar: Avatar, hair: Avatar, rig: Rig) -> Tensor:
    """Which points (N,) pass for skin or cloth where `hair` was; skin that was seen from the front beside it stays."""
    part = part_of_points(avatar)
    soiled = torch.stack([part == covered for covered in COVERED]).any(0) & (_hairy(avatar, rig)[avatar.triangles] > 0)
    if bool(soiled.any()):
        passing = avatar.select(soiled)
        places, normals = places_of(passing, rig), passing.anchors(rig).normals
        free = (part[soiled] != Part.CLOTH) & (normals[:, 2] > FACING) & ~_is_covered(places, places_of(hair, rig))
        soiled[soiled.nonzero()[:, 0]] = _hidden(places, normals, hair, rig) & ~free
    return soiled


def _hidden(places: Tensor, normals: Tensor, hair: Avatar, rig: Rig) -> Tensor:
    """Whether hair stands or grows at places (N, 3) of a surface, (N,).

    Where it only grows it must stand near by, or over the place: hair may be bound to a forehead that it has left free.
    """
    roots, stands = hair.roots(rig), places_of(hair, rig)
    hidden = distance_to(places, torch.cat([roots, stands])) < UNDER_HAIR
    far = (hidden & (distance_to(places, stands) > AROUND_HAIR)).nonzero()[:, 0]
    for block in torch.split(far, 512):
        away = stands[None] - places[block, None]
        height = (away * normals[block, None]).sum(-1)
        aside = (away.square().sum(-1) - height.square()).clamp(min=0).sqrt()
        hidden[block] = ((height > 0) & (height < STANDS_OFF) & (aside < AROUND_HAIR)).any(1)
    return hidden


def _hairy(avatar: Avatar, rig: Rig) -> Tensor:
    """The rig's triangles that hair may hide and that are completed: scalp, forehead, nape and torso, by area, (F,)."""
    where = regions(rig, rig.shaped(avatar.shape))
    return torch.stack([where.scalp, where.forehead, where.fall, where.cloth]).amax(0)


def _brow_and_scalp(avatar: Avatar, rig: Rig) -> Tensor:
    """The rig's triangles above the brows, where no lash or lid is dark of its own, (F,) bool."""
    where = regions(rig, rig.shaped(avatar.shape))
    return (where.forehead > 0) | (where.scalp > 0)


def _completed(avatar: Avatar, hair: Avatar, rig: Rig) -> Avatar:
    """Points on the rig wherever `hair` stood or grew and `avatar` has nothing; they move as the rig does."""
    part = part_of_points(avatar)
    shown = torch.stack([part == covered for covered in COVERED]).any(0) & (torch.sigmoid(avatar.opacity_logits) > 0.3)
    like = avatar.select(shown)
    if not bool((part_of_points(like) == Part.SKIN).any()):
        return avatar.select(shown & False)
    generator = torch.Generator().manual_seed(0)
    made = [_layer(like, hair, rig, depth, radius, generator) for depth, radius in LAYERS]
    return join_group(*made)


def _layer(like: Avatar, hair: Avatar, rig: Rig, depth: float, radius: float, generator: torch.Generator) -> Avatar:
    """One layer of what is completed, in the places, colours and parts that `like` has nearby."""
    blank = _scattered(like, _hairy(like, rig), radius, generator)
    blank = blank.select(distance_to(blank.roots(rig), places_of(like, rig)) > GAP)
    anchors = blank.anchors(rig)
    blank = blank.select(_hidden(anchors.positions, anchors.normals, hair, rig))
    if len(blank) == 0:
        return blank
    anchors, part = blank.anchors(rig), part_of_points(like)
    scalp = anchors.skin_weights[:, rig.joint_names.index("head")] > 0.9
    near = nearest(anchors.positions, like.roots(rig), 8)[1]
    clad = part == Part.CLOTH
    over = ~scalp & (rig.parts[blank.triangles] == Part.NECK)
    over &= _over_collar(anchors.positions, places_of(like.select(clad), rig))
    near[over] = (~clad).nonzero()[:, 0][nearest(anchors.positions[over], like.select(~clad).roots(rig), 8)[1]]
    of = torch.where(scalp, int(Part.SKIN), part[near].mode(1).values)
    same = (part[near] == of[:, None]).float()
    share = (same / same.sum(1, keepdim=True).clamp(min=1))[..., None]
    offsets = torch.where(scalp[:, None], 0.0, (share * like.offsets[near]).sum(1)) - depth * anchors.normals
    blank = replace(blank, offsets=offsets, part_logits=4.0 * torch.nn.functional.one_hot(of, len(Part)).to(offsets))
    skin = like.select(part == Part.SKIN)
    quiet = _skin_nearby(blank, skin, rig, hair)
    cloth = _cloth_nearby(anchors.positions, like.select(part == Part.CLOTH), rig)
    cloth = torch.where((of == Part.CLOTH)[:, None], cloth, (share * like.albedo[near]).sum(1))
    return replace(blank, albedo=torch.where(scalp[:, None], quiet, cloth))


def _over_collar(places: Tensor, cloth: Tensor) -> Tensor:
    """Which places (N, 3) are higher than the cloth (M, 3) nearest to them, (N,): it ends under them."""
    if len(cloth) == 0:
        return torch.ones(len(places), dtype=torch.bool, device=places.device)
    top = cloth[nearest(places, cloth, 24)[1], 1].quantile(0.8, dim=1)
    return torch.as_tensor(places[:, 1] > top)


def _scattered(like: Avatar, area: Tensor, radius: float, generator: torch.Generator) -> Avatar:
    """Plain points of a radius in metres, evenly over triangles by area (F,) until they cover it, in `like`'s first group."""
    count = max(1, round(float(area.sum()) * OVERLAP / (torch.pi * radius**2)))
    places = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    ends = area.cpu().cumsum(0)
    triangles = torch.searchsorted(ends, places * ends[-1]).clamp(max=len(ends) - 1).to(like.offsets.device)
    u, v = torch.rand(2, count, generator=generator).to(like.offsets)
    root = u.sqrt()
    blank = like.offsets
    return replace(
        like,
        triangles=triangles,
        barycentric=torch.stack([1 - root, root * (1 - v), root * v], dim=-1),
        offsets=blank.new_zeros(count, 3),
        log_radii=torch.full((count,), radius, device=blank.device).log(),
        opacity_logits=blank.new_full((count,), 3.0),
        albedo=blank.new_full((count, 3), 0.6),
        part_logits=blank.new_zeros(count, len(Part)),
        position_basis=blank.new_zeros(like.position_basis.shape[0], count, 3),
        colour_basis=blank.new_zeros(like.colour_basis.shape[0], count, 3),
        groups=torch.zeros(count, dtype=torch.int64, device=blank.device),
    )


def clear_skin(avatar: Avatar, hair: Avatar, rig: Rig) -> Avatar:
    """The avatar with the skin that was under `hair` in the colour of the skin that was not.

    What lies behind a fringe was never seen free of it: its points have learned shadow and strands. A point counts as covered
    where hair lies before it, as seen from the front, and, on forehead and scalp, where it is far darker than the face.
    """
    places, over = (places_of(a, rig) for a in (avatar, hair))
    brow = _is_brow(avatar, rig)
    free = (part_of_points(avatar) == Part.SKIN) & ~brow
    if not bool(brow.any()) or len(hair) == 0:
        return avatar
    chosen = brow.nonzero()[:, 0]
    covered = _is_covered(places[chosen], over)
    if bool(free.any()):
        tone, above = avatar.albedo.mean(1), _brow_and_scalp(avatar, rig)[avatar.triangles[chosen]]
        covered |= above & (tone[chosen] < SHADED * tone[free].median())
    free[chosen[~covered]] = True
    dirty = chosen[covered]
    if len(dirty) == 0 or int(free.sum()) < 24:
        return avatar
    albedo, basis = avatar.albedo.clone(), avatar.colour_basis.clone()
    albedo[dirty], basis[:, dirty] = _skin_nearby(avatar.select(dirty), avatar.select(free), rig, hair), 0.0
    return avatar.with_tensors({"albedo": albedo, "colour_basis": basis})


def _is_brow(avatar: Avatar, rig: Rig) -> Tensor:
    """Which points (N,) are skin so high that it is cleared of a fringe's colour."""
    return (part_of_points(avatar) == Part.SKIN) & (places_of(avatar, rig)[:, 1] > 0.0)


def _is_covered(points: Tensor, hair: Tensor) -> Tensor:
    """Whether hair (M, 3) lies before each point (N, 3), (N,)."""
    covered = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for block in torch.split(torch.arange(len(points)), 1024):
        across = torch.cdist(points[block, :2], hair[:, :2])
        before = hair[None, :, 2] - points[block, None, 2]
        covered[block] = ((across < REACH) & (before > -0.004) & (before < FRINGE)).any(1)
    return covered


def _cloth_nearby(places: Tensor, cloth: Avatar, rig: Rig) -> Tensor:
    """Colours (N, 3) for cloth at `places` (N, 3), from around: what pattern went on under the hair nobody has seen."""
    if len(cloth) == 0:
        return torch.full_like(places, 0.5)
    distance, near = nearest(places, places_of(cloth, rig), 48)
    weight = torch.softmax(-distance / 0.012, dim=-1)
    return (cloth.albedo[near] * weight[..., None]).sum(1)


def _skin_nearby(bare: Avatar, skin: Avatar, rig: Rig, hair: Avatar) -> Tensor:
    """A quiet albedo (N, 3) for `bare` points: that of the skin nearby, drawn towards that of the whole, in the skin's light.

    Skin in the shade of a fringe tells nothing of either: looked at alone, it would have the light come from below.
    """
    places = places_of(skin, rig)
    lit = ~_under_fringe(places, places_of(hair, rig))
    if int(lit.sum()) > LEAST_LIT:
        skin, places = skin.select(lit), places[lit]
    anchors, around = bare.anchors(rig), skin.anchors(rig)
    light = skin_light(skin, around.normals)
    tone = skin.albedo / albedo_under(light, skin.lights[0], around.normals).clamp(min=0.05)
    distance, near = nearest(anchors.positions + bare.offsets, places, 24)
    weight = torch.softmax(-distance / NEARBY, dim=-1)
    local = LOCAL + (1 - LOCAL) * torch.exp(-distance[:, :1] / NEARBY)
    quiet = (1 - local) * tone.median(0).values + local * (tone[near] * weight[..., None]).sum(1)
    return (quiet * albedo_under(light, skin.lights[0], anchors.normals)).clamp(0, 2)


def _under_fringe(places: Tensor, hair: Tensor) -> Tensor:
    """Whether hair (M, 3) hangs before and above each place (N, 3), (N,)."""
    found = torch.zeros(len(places), dtype=torch.bool, device=places.device)
    for block in torch.split(torch.arange(len(places)), 512):
        x, y, z = (hair[None, :, axis] - places[block, None, axis] for axis in range(3))
        found[block] = ((x.abs() < ASIDE) & (y > 0) & (y < CAST) & (z > 0)).any(1)
    return found
