"""Taking parts off an avatar: one part alone, or the rest without it, with what it hid filled in.

Legend: N points, K shape axes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.initialize import regions
from pegasus_ray.avatar.model import Avatar, join
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part

COVERS_SCALP = (Attribute.HAIR, Attribute.HAT)
FRINGE = 0.06
"""How far before the skin, in metres, hair still shades and hides it."""
AMONG, KIN = 16, 0.3
"""Neighbours looked at, and the share of their opacity that must be of a point's own kind for it to be taken off with them."""
STRAY = 0.012
"""Metres to its third neighbour beyond which a borrowed point is left behind."""
UNDER_HAIR = 0.012
"""How near taken hair, or its roots, skin must be to need completion, in metres."""
SUNK = 0.0015
"""How far under the surface what fills a gap lies, in metres."""


def part_of_points(avatar: Avatar) -> Tensor:
    """The part that each point most likely belongs to, (N,) indices of `Part`."""
    return avatar.part_logits.argmax(-1)


def has_attribute(avatar: Avatar, attribute: Attribute, *, least: int = 20) -> bool:
    """Whether the avatar has enough points of an attribute to lend it."""
    return int((part_of_points(avatar) == attribute.part).sum()) >= least


def lend(avatar: Avatar, attribute: Attribute, rig: Rig | None = None) -> Avatar:
    """Only the points of one attribute; with the rig, without those that hover far from all others.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the avatar has no such part.
    """
    if not has_attribute(avatar, attribute):
        raise PegasusError(
            Reason.MISSING_ATTRIBUTE, f"the avatar shows no {attribute.value} to borrow; choose another source"
        )
    lent = avatar.select(part_of_points(avatar) == attribute.part)
    if rig is None:
        return lent
    places = places_of(lent, rig)
    return lent.select(nearest(places, places, 4)[0][:, -1] < STRAY)


def together(avatar: Avatar, part: Part, rig: Rig) -> Tensor:
    """The points (N,) of a part that lie among their own kind: a speck of lip on a cheek is no mouth to take off."""
    found = part_of_points(avatar) == part
    if bool(found.any()):
        places, chosen = places_of(avatar, rig), found.nonzero()[:, 0]
        near = nearest(places[chosen], places, AMONG)[1]
        opacity = torch.sigmoid(avatar.opacity_logits)[near]
        found[chosen] = (found[near] * opacity).sum(1) > KIN * opacity.sum(1)
    return found


def bald(avatar: Avatar, rig: Rig) -> Avatar:
    """The avatar without hair and hat, its scalp completed from the rig in the colour of the skin nearby."""
    part = part_of_points(avatar)
    covers = (part == Part.HAIR) | (part == Part.HAT)
    hair = avatar.select(covers)
    kept = clear_skin(avatar.select(~covers), hair, rig)
    return join_group(kept, complete_scalp(kept, rig, under=hair))


def clear_skin(avatar: Avatar, hair: Avatar, rig: Rig, *, reach: float = 0.006) -> Avatar:
    """The avatar with the skin that was under `hair` in the colour of the skin that was not.

    What lies behind a fringe was never seen free of it: its points have learned shadow and strands. A point counts as covered
    where hair lies before it within `reach` metres across, as seen from the front.
    """
    places, over = (places_of(a, rig) for a in (avatar, hair))
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
    distance, near = nearest(places, there, 24)
    weight = torch.softmax(-distance / 0.01, dim=-1)
    return (_median_skin(skin) * 0.5 + 0.5 * (skin.albedo[near] * weight[..., None]).sum(1)).clamp(0, 1)


def complete_scalp(
    avatar: Avatar, rig: Rig, *, under: Avatar | None = None, count: int = 6000, gap: float = 0.004, seed: int = 0
) -> Avatar:
    """Skin points on the rig's scalp and forehead wherever `avatar` has no skin within `gap` metres; they do not move.

    With `under`, the hair that was taken off, only where that stood or grew: elsewhere nothing is bare that was not before.
    """
    vertices = rig.template + torch.einsum("k,kvc->vc", avatar.shape, rig.shape_basis)
    where = regions(rig, vertices)
    generator = torch.Generator().manual_seed(seed)
    region = where.scalp + where.fall + where.forehead
    weights = region.cpu()
    triangles = torch.multinomial(weights, count, replacement=True, generator=generator).to(avatar.offsets.device)
    spread = -torch.rand(count, 3, generator=generator).log().to(avatar.offsets.device)
    barycentric = spread / spread.sum(1, keepdim=True)
    area = float(region.sum())
    radius = 1.6 * (area / (count * torch.pi)) ** 0.5
    blank = _points_like(avatar, triangles, barycentric, radius, Part.SKIN)
    anchors = blank.anchors(rig)
    blank = replace(blank, offsets=-SUNK * anchors.normals)
    skin = avatar.select((part_of_points(avatar) == Part.SKIN) & (torch.sigmoid(avatar.opacity_logits) > 0.3))
    if len(skin) == 0:
        return blank
    there = skin.anchors(rig).positions + skin.offsets
    distance, _ = nearest(anchors.positions, there, 1)
    bare = distance[:, 0] > gap
    if under is not None:
        roots = under.anchors(rig).positions
        hidden = torch.cat([roots, roots + under.offsets])
        bare = bare & (nearest(anchors.positions, hidden, 1)[0][:, 0] < UNDER_HAIR) if len(under) else bare & False
    return replace(blank, albedo=_skin_nearby(anchors.positions, skin, there)).select(bare)


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


def places_of(avatar: Avatar, rig: Rig, shape: Tensor | None = None) -> Tensor:
    """Where points lie in rest space, (N, 3) metres, on the avatar's own shape or another (K,)."""
    return avatar.anchors(rig, shape).positions + avatar.offsets


def nearest(points: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and indices (N, count) of the nearest `others`, in blocks that fit in memory."""
    found = [
        torch.cdist(block, others).topk(min(count, len(others)), largest=False) for block in torch.split(points, 2048)
    ]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
