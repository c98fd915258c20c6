"""Taking parts off an avatar and putting another's on: Eq. 13 on points bound to one rig.

Both avatars are bound to the same rig, so re-anchoring the borrowed points on the wearer's (mixed) shape aligns them; what is
left to do is the seam: fill what the old part leaves bare, and let colours meet.

Legend: N points, K shape axes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.initialize import regions
from pegasus_ray.avatar.model import Avatar, join
from pegasus_ray.avatar.shading import TERMS
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part

COVERS_SCALP = (Attribute.HAIR, Attribute.HAT)
SKIN_COLOURED = (Attribute.NOSE,)
FRINGE = 0.06
"""How far before the skin, in metres, hair still shades and hides it."""
SUNK = 0.0015
"""How far under the surface what fills a gap lies, in metres."""


def part_of_points(avatar: Avatar) -> Tensor:
    """The part that each point most likely belongs to, (N,) indices of `Part`."""
    return avatar.part_logits.argmax(-1)


def has_attribute(avatar: Avatar, attribute: Attribute, *, least: int = 20) -> bool:
    """Whether the avatar has enough points of an attribute to lend it."""
    return int((part_of_points(avatar) == attribute.part).sum()) >= least


def lend(avatar: Avatar, attribute: Attribute) -> Avatar:
    """Only the points of one attribute.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the avatar has no such part.
    """
    if not has_attribute(avatar, attribute):
        raise PegasusError(
            Reason.MISSING_ATTRIBUTE, f"the avatar shows no {attribute.value} to borrow; choose another source"
        )
    return avatar.select(part_of_points(avatar) == attribute.part)


def bald(avatar: Avatar, rig: Rig) -> Avatar:
    """The avatar without hair and hat, its scalp completed from the rig in the colour of the skin nearby."""
    part = part_of_points(avatar)
    covers = (part == Part.HAIR) | (part == Part.HAT)
    kept = clear_skin(avatar.select(~covers), avatar.select(covers), rig)
    return join_group(kept, complete_scalp(kept, rig))


def clear_skin(avatar: Avatar, hair: Avatar, rig: Rig, *, reach: float = 0.006) -> Avatar:
    """The avatar with the skin that was under `hair` in the colour of the skin that was not.

    What lies behind a fringe was never seen free of it: its points have learned shadow and strands. A point counts as covered
    where hair lies before it within `reach` metres across, as seen from the front.
    """
    places, over = (a.anchors(rig).positions + a.offsets for a in (avatar, hair))
    brow = (part_of_points(avatar) == Part.SKIN) & (places[:, 1] > 0.0)
    free = (part_of_points(avatar) == Part.SKIN) & ~brow
    if not bool(brow.any()) or len(hair) == 0:
        return avatar
    chosen = brow.nonzero()[:, 0]
    covered = torch.cat([_is_covered(places[block], over, reach) for block in torch.split(chosen, 1024)])
    free[chosen[~covered]] = True
    dirty = chosen[covered]
    if len(dirty) == 0 or int(free.sum()) < 24:
        return avatar
    albedo, basis = avatar.albedo.clone(), avatar.colour_basis.clone()
    albedo[dirty], basis[:, dirty] = _skin_nearby(places[dirty], avatar.select(free), places[free]), 0.0
    return avatar.with_tensors({"albedo": albedo, "colour_basis": basis})


def _is_covered(points: Tensor, hair: Tensor, reach: float) -> Tensor:
    """Whether hair (M, 3) lies before each point (N, 3), (N,)."""
    across = torch.cdist(points[:, :2], hair[:, :2])
    before = hair[None, :, 2] - points[:, None, 2]
    return ((across < reach) & (before > -0.004) & (before < FRINGE)).any(1)


def _skin_nearby(places: Tensor, skin: Avatar, there: Tensor) -> Tensor:
    """A quiet skin colour for each place (N, 3): that of the skin nearby, drawn towards that of the whole."""
    distance, near = _nearest(places, there, 24)
    weight = torch.softmax(-distance / 0.01, dim=-1)
    return (_median_skin(skin) * 0.5 + 0.5 * (skin.albedo[near] * weight[..., None]).sum(1)).clamp(0, 1)


def complete_scalp(avatar: Avatar, rig: Rig, *, count: int = 6000, gap: float = 0.004, seed: int = 0) -> Avatar:
    """Skin points on the rig's scalp and forehead wherever `avatar` has no skin within `gap` metres; they do not move."""
    vertices = rig.template + torch.einsum("k,kvc->vc", avatar.shape, rig.shape_basis)
    where = regions(rig, vertices)
    generator = torch.Generator().manual_seed(seed)
    bare = where.scalp + where.fall + where.forehead
    weights = bare.cpu()
    triangles = torch.multinomial(weights, count, replacement=True, generator=generator).to(avatar.offsets.device)
    spread = -torch.rand(count, 3, generator=generator).log().to(avatar.offsets.device)
    barycentric = spread / spread.sum(1, keepdim=True)
    area = float(bare.sum())
    radius = 1.6 * (area / (count * torch.pi)) ** 0.5
    blank = _points_like(avatar, triangles, barycentric, radius, Part.SKIN)
    anchors = blank.anchors(rig)
    blank = replace(blank, offsets=-SUNK * anchors.normals)
    skin = avatar.select((part_of_points(avatar) == Part.SKIN) & (torch.sigmoid(avatar.opacity_logits) > 0.3))
    if len(skin) == 0:
        return blank
    there = skin.anchors(rig).positions + skin.offsets
    distance, _ = _nearest(anchors.positions, there, 1)
    return replace(blank, albedo=_skin_nearby(anchors.positions, skin, there)).select(distance[:, 0] > gap)


def _median_skin(skin: Avatar) -> Tensor:
    return skin.albedo.median(0).values


def _points_like(avatar: Avatar, triangles: Tensor, barycentric: Tensor, radius: float, part: Part) -> Avatar:
    """Plain points in the first group of `avatar`."""
    count, like = len(triangles), avatar.offsets
    logits = like.new_zeros(count, len(Part))
    logits[:, part] = 4.0
    return replace(
        avatar,
        triangles=triangles,
        barycentric=barycentric,
        offsets=like.new_zeros(count, 3),
        log_radii=torch.full((count,), radius, device=like.device).log(),
        opacity_logits=like.new_full((count,), 3.0),
        albedo=like.new_full((count, 3), 0.6),
        part_logits=logits,
        position_basis=like.new_zeros(avatar.position_basis.shape[0], count, 3),
        colour_basis=like.new_zeros(avatar.colour_basis.shape[0], count, 3),
        groups=torch.zeros(count, dtype=torch.int64, device=like.device),
    )


def join_group(first: Avatar, second: Avatar) -> Avatar:
    """Points of the same groups (same codes, same lights) in one avatar."""
    joined = join(first, second)
    return replace(joined, groups=torch.cat([first.groups, second.groups]), lights=first.lights, motions=first.motions)


def wear(wearer: Avatar, source: Avatar, attribute: Attribute, rig: Rig, *, blend: float = 0.008) -> Avatar:
    """`wearer` with the attribute of `source` (paper Eq. 13): an ordinary avatar.

    Args:
        wearer: whose points all but the attribute's are kept.
        source: whose points of the attribute are taken.
        attribute: what to borrow.
        rig: the rig that both are bound to.
        blend: width in metres over which borrowed skin takes the wearer's colour.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the source has no such part; BAD_REFERENCE where the two are on different rigs.
    """
    if wearer.rig != source.rig:
        raise PegasusError(
            Reason.BAD_REFERENCE,
            f"one avatar is bound to rig {wearer.rig!r}, the other to {source.rig!r}; fit both on one rig",
        )
    borrowed = lend(source, attribute)
    part = part_of_points(wearer)
    if attribute in COVERS_SCALP:
        base = bald(wearer, rig) if attribute is Attribute.HAIR else _hat_off(wearer, rig)
    else:
        mine = part == attribute.part
        base = join_group(wearer.select(~mine), _underlay(wearer.select(mine), wearer.select(part == Part.SKIN), rig))
    shape = rig.mix_shape(wearer.shape, source.shape, attribute)
    if attribute in SKIN_COLOURED:
        borrowed = _meet_colours(borrowed, source, wearer, rig, shape, blend)
    return replace(join(replace(base, shape=shape), _still_unless_face(borrowed, attribute)), shape=shape)


def _hat_off(wearer: Avatar, rig: Rig) -> Avatar:
    """The wearer without its own hat; its hair stays, to be covered by another's."""
    part = part_of_points(wearer)
    kept = wearer.select(part != Part.HAT)
    return join_group(kept, complete_scalp(kept, rig)) if bool((part == Part.HAT).any()) else kept


def _still_unless_face(points: Avatar, attribute: Attribute) -> Avatar:
    """Hair and hats do not answer to another person's expressions: their motion was learned on the source's."""
    if attribute not in COVERS_SCALP:
        return points
    return replace(
        points,
        position_basis=torch.zeros_like(points.position_basis),
        colour_basis=torch.zeros_like(points.colour_basis),
    )


def _underlay(mine: Avatar, skin: Avatar, rig: Rig) -> Avatar:
    """The wearer's own part as bare skin just under the surface, so that a smaller borrowed part leaves no hole."""
    anchors = mine.anchors(rig)
    on_skin = rig.parts[mine.triangles] != Part.EYES
    outer = on_skin & (anchors.expression_basis.norm(dim=-1).amax(0) < 0.02) if len(mine) else on_skin
    mine = mine.select(outer)
    if len(mine) == 0 or len(skin) == 0:
        return mine
    anchors = mine.anchors(rig)
    _, near = _nearest(anchors.positions, skin.anchors(rig).positions + skin.offsets, 12)
    logits = torch.zeros_like(mine.part_logits)
    logits[:, Part.SKIN] = 4.0
    return replace(
        mine,
        offsets=mine.offsets - SUNK * anchors.normals,
        albedo=skin.albedo[near].mean(1),
        colour_basis=torch.zeros_like(mine.colour_basis),
        part_logits=logits,
    )


def _meet_colours(borrowed: Avatar, source: Avatar, wearer: Avatar, rig: Rig, shape: Tensor, blend: float) -> Avatar:
    """Borrowed skin in the wearer's tone: a gain between the two skins, and the wearer's own colour at the seam."""
    gain = (skin_tone(wearer) / skin_tone(source).clamp(min=1e-2)).clamp(0.4, 2.5)
    albedo = borrowed.albedo * source.lights[borrowed.groups, 0] / wearer.lights[0, 0].clamp(min=1e-2) * gain
    skin = wearer.select(part_of_points(wearer) == Part.SKIN)
    places = borrowed.anchors(rig, shape).positions + borrowed.offsets
    distance, near = _nearest(places, skin.anchors(rig, shape).positions + skin.offsets, 4)
    share = (1 - distance.mean(1) / blend).clamp(0, 1)[:, None]
    lights = wearer.lights[:1].expand(len(source.motions), TERMS, 3)
    return replace(borrowed, albedo=share * skin.albedo[near].mean(1) + (1 - share) * albedo, lights=lights)


def skin_tone(avatar: Avatar) -> Tensor:
    """The colour of an avatar's skin in its mean light, (3,)."""
    return _median_skin(avatar.select(part_of_points(avatar) == Part.SKIN)) * avatar.lights[0, 0]


def _nearest(points: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and indices (N, count) of the nearest `others`, in blocks that fit in memory."""
    found = [
        torch.cdist(block, others).topk(min(count, len(others)), largest=False) for block in torch.split(points, 2048)
    ]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
