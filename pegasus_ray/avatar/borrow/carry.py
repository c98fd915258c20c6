"""Hair and hats on another head: moved from head to head as one piece, and laid on the wearer's clothes.

Legend: N points, K shape axes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

SMOOTHING_METRES: Final = 0.03
"""Deviation of the Gaussian over which the change from one head to another is averaged. If it is smaller, locks come apart; if it
is larger, a hat no longer follows the head's form."""
BLOCK: Final = 1024
"""Points whose distances to all others are held in memory at once."""
CLOTH_NEIGHBOURS: Final = 16
"""Points of cloth that give the height and the normal of the cloth under a point."""
MAX_DEPTH_METRES: Final = 0.03
"""Hair is moved out of cloth by at most this much."""
HEIGHT_METRES: Final = 0.006
"""How far above the cloth it then lies."""


def carry_part(avatar: Avatar, part: Part, rig: Rig, shape: Tensor) -> Avatar:
    """The avatar with the points of a part moved from its own head to one of `shape` (K,); to be drawn on `shape`.

    The points of one lock may be bound far apart, to the head, the neck and the shoulders. If each moved with its own triangle,
    the lock would come apart on another body. So each point moves by the weighted mean of the changes around it.
    """
    chosen = (avatar.parts == part).nonzero()[:, 0]
    points = avatar.select(chosen)
    own, new = points.roots(rig), points.roots(rig, shape)
    places = own + points.offsets
    weights = [
        torch.softmax(-(torch.cdist(block, places) / SMOOTHING_METRES).square() / 2, 1)
        for block in torch.split(places, BLOCK)
    ]
    moved = torch.cat([weight @ (new - own) for weight in weights]) if len(chosen) else new
    offsets = avatar.offsets.clone()
    offsets[chosen] = places + moved - new
    return replace(avatar, offsets=offsets)


def lift_off_cloth(hair: Avatar, wearer: Avatar, rig: Rig) -> Avatar:
    """Borrowed hair, already on the wearer's shape, brought out where it would hang inside the wearer's clothes."""
    cloth = wearer.select(wearer.parts == Part.CLOTH)
    if len(cloth) < CLOTH_NEIGHBOURS or len(hair) == 0:
        return hair
    places, surface = hair.places(rig, wearer.shape), cloth.places(rig)
    distance, near = nearest(places, surface, CLOTH_NEIGHBOURS)
    normals = cloth.anchors(rig).normals[near].mean(1)
    height = ((places - surface[near].mean(1)) * normals).sum(1)
    inside = distance[:, 0] < MAX_DEPTH_METRES
    up = torch.where(inside, (HEIGHT_METRES - height).clamp(min=0, max=MAX_DEPTH_METRES), 0.0)
    return replace(hair, offsets=hair.offsets + up[:, None] * normals)
