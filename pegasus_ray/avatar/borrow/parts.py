"""Taking parts off an avatar, and putting points together.

Legend: N points, K shape axes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar, join
from pegasus_ray.avatar.points.neighbours import distance_to, nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part

COVERS_SCALP = (Attribute.HAIR, Attribute.HAT)
AMONG = 16
"""Neighbours looked at to tell a point of a part from a speck."""
KIN = {Part.MOUTH: 0.3, Part.HAIR: 0.15, Part.HAT: 0.3}
"""Share of the neighbours' opacity that must be of a point's own kind; other parts are too thin for it, or stand alone."""
FAR = 2.5
"""Times the median distance of a mouth's points from its middle beyond which what passes for mouth is none."""
LOCK = 0.03
"""Metres over which the change from one head to another is smoothed for what hangs on it."""
DEEP, ON_CLOTH = 0.03, 0.006
"""Metres under cloth from which hair is brought out, and how far above the cloth it lies then."""
THROUGH, ABOVE = 0.002, 0.001
"""How near to a brow's points skin is lent with them, and how far above the lender's skin both lie then, in metres."""
STRAY = 0.012
"""Metres to its third neighbour beyond which a borrowed point is left behind."""


def part_of_points(avatar: Avatar) -> Tensor:
    """The part that each point most likely belongs to, (N,) indices of `Part`."""
    return avatar.part_logits.argmax(-1)


def has_attribute(avatar: Avatar, attribute: Attribute, *, least: int = 20) -> bool:
    """Whether the avatar has enough points of an attribute to lend it."""
    return int((part_of_points(avatar) == attribute.part).sum()) >= least


def lend(avatar: Avatar, attribute: Attribute, rig: Rig | None = None) -> Avatar:
    """Only the points of one attribute; with the rig, without specks and those that hover far from all others.

    Raises:
        PegasusError: MISSING_ATTRIBUTE where the avatar has no such part.
    """
    if not has_attribute(avatar, attribute):
        raise PegasusError(
            Reason.MISSING_ATTRIBUTE, f"the avatar shows no {attribute.value} to borrow; choose another source"
        )
    if rig is None:
        return avatar.select(part_of_points(avatar) == attribute.part)
    lent = avatar.select(together(avatar, attribute.part, rig))
    places = places_of(lent, rig)
    lent = lent.select(nearest(places, places, 4)[0][:, -1] < STRAY)
    return _on_skin(lent, avatar, rig) if attribute is Attribute.EYEBROWS else lent


def _on_skin(brows: Avatar, avatar: Avatar, rig: Rig) -> Avatar:
    """Brows with the skin that runs through them, a little above the rest: another's skin would come up between the hairs."""
    skin = avatar.select(part_of_points(avatar) == Part.SKIN)
    if len(brows) == 0:
        return brows
    brows = join_group(brows, skin.select(distance_to(places_of(skin, rig), places_of(brows, rig)) < THROUGH))
    return replace(brows, offsets=brows.offsets + ABOVE * brows.anchors(rig).normals)


def together(avatar: Avatar, part: Part, rig: Rig) -> Tensor:
    """The points (N,) of a part that lie among their own kind: a speck of lip on a cheek is no mouth to take off."""
    found = part_of_points(avatar) == part
    if part in KIN and bool(found.any()):
        places, chosen = places_of(avatar, rig), found.nonzero()[:, 0]
        near = nearest(places[chosen], places, AMONG)[1]
        opacity = torch.sigmoid(avatar.opacity_logits)[near]
        found[chosen] = (found[near] * opacity).sum(1) > KIN[part] * opacity.sum(1)
        if part is Part.MOUTH and bool(found.any()):
            away = (places - places[found].median(0).values).norm(dim=1)
            found &= away < FAR * away[found].median()
    return found


def carried(avatar: Avatar, part: Part, rig: Rig, shape: Tensor) -> Avatar:
    """The avatar with a part's points where a smooth change from its own to `shape` (K,) carries them: to be used on `shape`.

    Each point is bound to a triangle, and neighbours in a lock may be bound far apart: to the head, the neck, the shoulders.
    Going along with their own triangles they would part on another body; going along with what surrounds them they stay a lock.
    """
    chosen = (part_of_points(avatar) == part).nonzero()[:, 0]
    points = avatar.select(chosen)
    own, new = points.roots(rig), points.roots(rig, shape)
    places = own + points.offsets
    weights = [
        torch.softmax(-(torch.cdist(block, places) / LOCK).square() / 2, 1) for block in torch.split(places, 1024)
    ]
    moved = torch.cat([weight @ (new - own) for weight in weights]) if len(chosen) else new
    offsets = avatar.offsets.clone()
    offsets[chosen] = places + moved - new
    return replace(avatar, offsets=offsets)


def lifted(lent: Avatar, wearer: Avatar, rig: Rig) -> Avatar:
    """Borrowed hair, on the wearer's shape, laid on the wearer's cloth where it would hang inside of it."""
    cloth = wearer.select(part_of_points(wearer) == Part.CLOTH)
    if len(cloth) < AMONG or len(lent) == 0:
        return lent
    places, surface = places_of(lent, rig, wearer.shape), places_of(cloth, rig)
    distance, near = nearest(places, surface, AMONG)
    normals = cloth.anchors(rig).normals[near].mean(1)
    height = ((places - surface[near].mean(1)) * normals).sum(1)
    up = torch.where(distance[:, 0] < DEEP, (ON_CLOTH - height).clamp(min=0, max=DEEP), 0.0)
    return replace(lent, offsets=lent.offsets + up[:, None] * normals)


def join_group(first: Avatar, second: Avatar) -> Avatar:
    """Points of the same groups (same codes, same lights) in one avatar."""
    joined = join(first, second)
    return replace(joined, groups=torch.cat([first.groups, second.groups]), lights=first.lights, motions=first.motions)


def places_of(avatar: Avatar, rig: Rig, shape: Tensor | None = None) -> Tensor:
    """Where points lie in rest space, (N, 3) metres, on the avatar's own shape or another (K,)."""
    return avatar.roots(rig, shape) + avatar.offsets
