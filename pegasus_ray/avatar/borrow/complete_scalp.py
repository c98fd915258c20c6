"""Completing the skin and cloth that hair hid, once the hair is taken off.

Three things happen where hair was. Points labelled skin or cloth that have learned the hair's colours ("soiled" below) are
dropped. New points on the rig take their place, in two layers: a surface, and a backing of larger points below it. New skin has
the tone and light of the visible skin, new cloth the colours of the cloth nearby. And skin that was only seen through a fringe,
or in its shade, gets the colour of skin that was not.

Legend: N points, M points of the hair, F triangles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.parts import members
from pegasus_ray.avatar.borrow.skin_light import albedo_under, skin_light
from pegasus_ray.avatar.points.avatar import Avatar, join_group
from pegasus_ray.avatar.points.neighbours import distance_to, nearest
from pegasus_ray.avatar.points.regions import regions
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

FRINGE_METRES: Final = 0.06
"""Hair hides and shades skin if it lies at most this far in front of it."""
FRINGE_BEHIND_METRES: Final = 0.004
"""Hair that lies at most this far behind a point of skin still counts as in front of it, because points have a radius."""
ACROSS_METRES: Final = 0.006
"""Seen from the front, a point of hair covers skin within this distance."""
STANDS_OVER_METRES: Final = 0.02
"""Hair stands over a place if it lies at most this far beside the place's normal. Only places near
roots whose nearest hair is farther away than this are tested for it."""
LEAST_FACING: Final = 0.3
"""Skin whose normal points forward by at least this cosine was seen from the front, unless hair lies in front of it."""
MAX_HEIGHT_METRES: Final = 0.08
"""Hair that stands farther than this off a surface does not hide it."""
UNDER_HAIR_METRES: Final = 0.012
"""A surface nearer than this to hair that was taken off, or to the places where that hair is bound, was hidden by it."""
GAP_METRES: Final = 0.004
"""A hidden surface is completed where the nearest point that was kept is farther away."""
SHADED_SHARE: Final = 0.72
"""Skin above the eyes that is darker than this share of the face's brightness has learned a fringe's strands and shade."""
SHADE_BELOW_METRES: Final = 0.045
"""How far below its points a fringe casts shade."""
SHADE_ASIDE_METRES: Final = 0.01
"""How far to either side of them it casts shade."""
LEAST_LIT_POINTS: Final = 200
"""With fewer points of skin outside that shade, the light is estimated from all of the skin."""
LEAST_FREE_POINTS: Final = 24
"""With fewer points of skin that no hair covered, covered skin keeps its colours."""
LOCAL_SHARE: Final = 0.3
"""Far from any seen skin, completed skin has this share of the nearest skin's tone and the rest of the whole skin's median."""
LOCAL_METRES: Final = 0.01
"""Decay length of the change from the nearest skin's tone to that mixture, and of the weights of neighbouring skin."""
SKIN_NEIGHBOURS: Final = 24
"""Points of skin whose tone is averaged."""
CLOTH_NEIGHBOURS: Final = 48
"""Points of cloth whose colours are averaged."""
CLOTH_SMOOTHING_METRES: Final = 0.012
"""Decay length of their weights."""
COLLAR_NEIGHBOURS: Final = 24
"""Points of cloth that say how high the collar is at a place."""
LIKE_NEIGHBOURS: Final = 8
"""Points nearby that give a completed point its part, offset and colour."""
OPAQUE: Final = 0.3
"""Points that are less opaque are not used for that."""
HEAD_SHARE: Final = 0.9
"""Where the head joint's skinning weight is larger, the surface is scalp."""
OVERLAP: Final = 2.56
"""Total area of a layer's discs, relative to the area that they cover."""
COVERED: Final = (Part.SKIN, Part.NECK, Part.CLOTH)
"""The parts that hair lies on."""


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer of completed points."""

    depth: float  # metres under the surface that it completes
    radius: float  # of its points, metres


SURFACE: Final = _Layer(0.0015, 0.0036)
BACKING: Final = _Layer(0.005, 0.0070)


def bald(avatar: Avatar, rig: Rig) -> Avatar:
    """The avatar without hair and hat, and with what they hid completed. Isolated points labelled hair on a cheek stay."""
    covers = members(avatar, Part.HAIR, rig) | members(avatar, Part.HAT, rig)
    covers |= (avatar.parts == Part.HAIR) & _forehead_and_scalp(avatar, rig)[avatar.triangles]
    return complete_scalp(avatar.select(~covers), avatar.select(covers), rig)


def complete_scalp(avatar: Avatar, hair: Avatar, rig: Rig, *, keep_skin: bool = False) -> Avatar:
    """The avatar from which `hair` was taken, with what the hair hid completed.

    Args:
        avatar: all points but the hair's.
        hair: the points that were taken off: hair, a hat, or both.
        rig: that both are bound to.
        keep_skin: keep all skin above the eyes and correct only its colour. For an avatar that may put its own hair on
            again: the edge of that hair was fitted together with this skin.
    """
    if len(hair) == 0:
        return avatar
    soiled = _soiled(avatar, hair, rig)
    if keep_skin:
        soiled &= ~_is_upper_skin(avatar, rig)
    kept = avatar.select(~soiled)
    return join_group(clear_skin(kept, hair, rig), _completed(kept, hair, rig))


def _soiled(avatar: Avatar, hair: Avatar, rig: Rig) -> Tensor:
    """Which points (N,) bool are labelled skin or cloth but lie where `hair` was, except skin that was seen from the front."""
    part = avatar.parts
    soiled = torch.stack([part == covered for covered in COVERED]).any(0) & (
        _hidden_area(avatar, rig)[avatar.triangles] > 0
    )
    if bool(soiled.any()):
        passing = avatar.select(soiled)
        places, normals = passing.places(rig), passing.anchors(rig).normals
        free = (part[soiled] != Part.CLOTH) & (normals[:, 2] > LEAST_FACING) & ~_is_covered(places, hair.places(rig))
        soiled[soiled.nonzero()[:, 0]] = _hidden(places, normals, hair, rig) & ~free
    return soiled


def _hidden(places: Tensor, normals: Tensor, hair: Avatar, rig: Rig) -> Tensor:
    """Whether hair hid the places (N, 3) of a surface with these normals (N, 3), (N,) bool.

    A place counts as hidden near hair and near the hair's roots, which are the places where it is bound. Where only roots are
    near, hair must also stand over the place: hair that is bound to the forehead may leave the forehead free.
    """
    roots, strands = hair.roots(rig), hair.places(rig)
    hidden = distance_to(places, torch.cat([roots, strands])) < UNDER_HAIR_METRES
    far = (hidden & (distance_to(places, strands) > STANDS_OVER_METRES)).nonzero()[:, 0]
    for block in torch.split(far, 512):
        away = strands[None] - places[block, None]
        height = (away * normals[block, None]).sum(-1)
        aside = (away.square().sum(-1) - height.square()).clamp(min=0).sqrt()
        hidden[block] = ((height > 0) & (height < MAX_HEIGHT_METRES) & (aside < STANDS_OVER_METRES)).any(1)
    return hidden


def _hidden_area(avatar: Avatar, rig: Rig) -> Tensor:
    """For each triangle of the rig its area in m² if hair may hide it (scalp, forehead, nape, torso), else 0, (F,)."""
    where = regions(rig, rig.shaped(avatar.shape))
    return torch.stack([where.scalp, where.forehead, where.fall, where.cloth]).amax(0)


def _forehead_and_scalp(avatar: Avatar, rig: Rig) -> Tensor:
    """The rig's triangles above the brows, (F,) bool. Dark skin there is hair's shade: lashes and lids lie lower."""
    where = regions(rig, rig.shaped(avatar.shape))
    return (where.forehead > 0) | (where.scalp > 0)


def _completed(avatar: Avatar, hair: Avatar, rig: Rig) -> Avatar:
    """New points on the rig wherever `hair` hid it and `avatar` has no opaque skin or cloth; they move as the rig does."""
    part = avatar.parts
    shown = torch.stack([part == covered for covered in COVERED]).any(0) & (
        torch.sigmoid(avatar.opacity_logits) > OPAQUE
    )
    like = avatar.select(shown)
    if not bool((like.parts == Part.SKIN).any()):
        return avatar.select(shown & False)
    generator = torch.Generator().manual_seed(0)
    return join_group(*(_complete_layer(like, hair, rig, layer, generator) for layer in (SURFACE, BACKING)))


def _complete_layer(like: Avatar, hair: Avatar, rig: Rig, layer: _Layer, generator: torch.Generator) -> Avatar:
    """One layer of new points, with the offsets, colours and parts of `like`'s points nearby; on the scalp, skin on the rig.

    On the neck above the collar, points never become cloth: it would otherwise be continued up to the ears.
    """
    blank = _scatter(like, _hidden_area(like, rig), layer.radius, generator)
    blank = blank.select(distance_to(blank.roots(rig), like.places(rig)) > GAP_METRES)
    anchors = blank.anchors(rig)
    blank = blank.select(_hidden(anchors.positions, anchors.normals, hair, rig))
    if len(blank) == 0:
        return blank
    anchors, part = blank.anchors(rig), like.parts
    scalp = anchors.skin_weights[:, rig.joint_names.index("head")] > HEAD_SHARE
    near = nearest(anchors.positions, like.roots(rig), LIKE_NEIGHBOURS)[1]
    is_cloth = part == Part.CLOTH
    bare_neck = ~scalp & (rig.parts[blank.triangles] == Part.NECK)
    bare_neck &= _over_collar(anchors.positions, like.select(is_cloth).places(rig))
    near_neck = nearest(anchors.positions[bare_neck], like.select(~is_cloth).roots(rig), LIKE_NEIGHBOURS)[1]
    near[bare_neck] = (~is_cloth).nonzero()[:, 0][near_neck]
    new_part = torch.where(scalp, int(Part.SKIN), part[near].mode(1).values)
    same = (part[near] == new_part[:, None]).float()
    share = (same / same.sum(1, keepdim=True).clamp(min=1))[..., None]
    offsets = torch.where(scalp[:, None], 0.0, (share * like.offsets[near]).sum(1)) - layer.depth * anchors.normals
    logits = 4.0 * torch.nn.functional.one_hot(new_part, len(Part)).to(offsets)
    blank = replace(blank, offsets=offsets, part_logits=logits)
    skin = like.select(part == Part.SKIN)
    bare = _skin_nearby(blank, skin, rig, hair)
    cloth = _cloth_nearby(anchors.positions, like.select(part == Part.CLOTH), rig)
    cloth = torch.where((new_part == Part.CLOTH)[:, None], cloth, (share * like.albedo[near]).sum(1))
    return replace(blank, albedo=torch.where(scalp[:, None], bare, cloth))


def _over_collar(places: Tensor, cloth: Tensor) -> Tensor:
    """Which places (N, 3) lie above the upper edge of the cloth (M, 3) nearest to them, (N,) bool."""
    if len(cloth) == 0:
        return torch.ones(len(places), dtype=torch.bool, device=places.device)
    top = cloth[nearest(places, cloth, COLLAR_NEIGHBOURS)[1], 1].quantile(0.8, dim=1)
    return torch.as_tensor(places[:, 1] > top)


def _scatter(like: Avatar, area: Tensor, radius: float, generator: torch.Generator) -> Avatar:
    """Grey points of a radius in metres on the rig, evenly over triangles of area (F,) m², enough to cover them `OVERLAP` times.

    They belong to the first group of `like`.
    """
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
    """The avatar with skin that `hair` covered in the colour of skin that it did not cover.

    Skin behind a fringe was never seen without it, so its points have learned strands and shade. A point above the eyes counts
    as covered if hair lies in front of it or if, on forehead and scalp, it is far darker than the face.
    """
    places, over = avatar.places(rig), hair.places(rig)
    upper = _is_upper_skin(avatar, rig)
    free = (avatar.parts == Part.SKIN) & ~upper
    if not bool(upper.any()) or len(hair) == 0:
        return avatar
    chosen = upper.nonzero()[:, 0]
    covered = _is_covered(places[chosen], over)
    if bool(free.any()):
        tone, above = avatar.albedo.mean(1), _forehead_and_scalp(avatar, rig)[avatar.triangles[chosen]]
        covered |= above & (tone[chosen] < SHADED_SHARE * tone[free].median())
    free[chosen[~covered]] = True
    dirty = chosen[covered]
    if len(dirty) == 0 or int(free.sum()) < LEAST_FREE_POINTS:
        return avatar
    albedo, basis = avatar.albedo.clone(), avatar.colour_basis.clone()
    albedo[dirty], basis[:, dirty] = _skin_nearby(avatar.select(dirty), avatar.select(free), rig, hair), 0.0
    return avatar.with_tensors({"albedo": albedo, "colour_basis": basis})


def _is_upper_skin(avatar: Avatar, rig: Rig) -> Tensor:
    """Which points (N,) bool are skin above the middle of the eyes, where a fringe may have hung."""
    return (avatar.parts == Part.SKIN) & (avatar.places(rig)[:, 1] > 0.0)


def _is_covered(points: Tensor, hair: Tensor) -> Tensor:
    """Whether hair (M, 3) lies in front of each point (N, 3), along the rig's z axis, (N,) bool."""
    covered = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    for block in torch.split(torch.arange(len(points)), 1024):
        across = torch.cdist(points[block, :2], hair[:, :2])
        before = hair[None, :, 2] - points[block, None, 2]
        covered[block] = ((across < ACROSS_METRES) & (before > -FRINGE_BEHIND_METRES) & (before < FRINGE_METRES)).any(1)
    return covered


def _cloth_nearby(places: Tensor, cloth: Avatar, rig: Rig) -> Tensor:
    """Colours (N, 3) for cloth at `places` (N, 3): the mean of the cloth nearby, as no frame shows the pattern under the hair."""
    if len(cloth) == 0:
        return torch.full_like(places, 0.5)
    distance, near = nearest(places, cloth.places(rig), CLOTH_NEIGHBOURS)
    weight = torch.softmax(-distance / CLOTH_SMOOTHING_METRES, dim=-1)
    return (cloth.albedo[near] * weight[..., None]).sum(1)


def _skin_nearby(bare: Avatar, skin: Avatar, rig: Rig, hair: Avatar) -> Tensor:
    """An even albedo (N, 3) for `bare` points: the tone of the skin nearby mixed with that of all skin, in the skin's light.

    Skin in the shade of a fringe is left out: with it, the light would seem to come from below.
    """
    places = skin.places(rig)
    lit = ~_under_fringe(places, hair.places(rig))
    if int(lit.sum()) > LEAST_LIT_POINTS:
        skin, places = skin.select(lit), places[lit]
    anchors, around = bare.anchors(rig), skin.anchors(rig)
    light = skin_light(skin, around.normals)
    tone = skin.albedo / albedo_under(light, skin.lights[0], around.normals).clamp(min=0.05)
    distance, near = nearest(anchors.positions + bare.offsets, places, SKIN_NEIGHBOURS)
    weight = torch.softmax(-distance / LOCAL_METRES, dim=-1)
    local = LOCAL_SHARE + (1 - LOCAL_SHARE) * torch.exp(-distance[:, :1] / LOCAL_METRES)
    even = (1 - local) * tone.median(0).values + local * (tone[near] * weight[..., None]).sum(1)
    return (even * albedo_under(light, skin.lights[0], anchors.normals)).clamp(0, 2)


def _under_fringe(places: Tensor, hair: Tensor) -> Tensor:
    """Whether hair (M, 3) hangs in front of and above each place (N, 3), where it may cast its shade on it, (N,) bool."""
    found = torch.zeros(len(places), dtype=torch.bool, device=places.device)
    for block in torch.split(torch.arange(len(places)), 512):
        x, y, z = (hair[None, :, axis] - places[block, None, axis] for axis in range(3))
        found[block] = ((x.abs() < SHADE_ASIDE_METRES) & (y > 0) & (y < SHADE_BELOW_METRES) & (z > 0)).any(1)
    return found
