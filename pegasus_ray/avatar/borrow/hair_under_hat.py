"""Hair under a hat: what would stick out through it or around it lies flat.

Legend: N points, M points of the hat.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.complete_scalp import uncover
from pegasus_ray.avatar.borrow.parts import part_of_points, places_of
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.neighbours import distance_to
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

FLAT: Final = 0.008
"""Metres that pressed hair stands off the head."""
RISE: Final = 0.5
"""By how much it may stand off more, a metre away from the hat."""
UNDER: Final = 0.01
"""Metres around the hat within which hair is pressed flat."""
MIDDLE: Final = (0.0, 0.03, -0.09)
"""Of the head, seen from the point between the eyes: hair on a ray from there through the hat is in it."""
COVER: Final = 0.08
"""How near such a ray comes to one through a point of the hat, in radians: 8 mm on the head, the distance of a hat's points."""
SINK: Final = 0.006
"""How far what a hat covers is taken back into the head, in metres, so that none of it shows between the hat's points."""


def under_hat(wearer: Avatar, hat: Avatar, rig: Rig) -> Avatar:
    """The wearer without a hat of their own and without the hair that `hat` would press flat; the scalp is completed.

    Args:
        wearer: who puts the hat on.
        hat: the hat's points alone, as they will lie on the wearer's shape.
        rig: the rig that both are bound to.
    """
    if len(hat) == 0:
        return wearer.select(part_of_points(wearer) != Part.HAT)
    places = places_of(hat, rig, wearer.shape)
    kept = part_of_points(wearer) != Part.HAT
    kept &= ~pressed_flat(wearer, places, rig)
    bare = uncover(wearer.select(kept), wearer.select(~kept), rig)
    heads = places_of(bare, rig)
    rays = torch.nn.functional.normalize(heads - heads.new_tensor(MIDDLE), dim=1)
    sunk = SINK * _covered(heads, places)[:, None] * rays
    return replace(bare, offsets=bare.offsets - sunk)


def pressed_flat(wearer: Avatar, hat: Tensor, rig: Rig) -> Tensor:
    """Which of the wearer's points, (N,), are hair that a hat whose points lie at `hat` (M, 3) would press flat or cover."""
    pressed = torch.zeros(len(wearer), dtype=torch.bool, device=hat.device)
    hair = (part_of_points(wearer) == Part.HAIR).nonzero()[:, 0]
    if len(hair) and len(hat):
        vertices = rig.shaped(wearer.shape)
        places = places_of(wearer, rig)[hair]
        away = distance_to(places, hat)
        pressed[hair] = distance_to(places, vertices) >= FLAT + RISE * (away - UNDER).clamp(min=0)
        pressed[hair] |= _covered(places, hat)
    return pressed


def _covered(places: Tensor, hat: Tensor) -> Tensor:
    """Which places (N, 3) lie in the hat (M, 3) or stick out through it, (N,)."""
    middle = hat.new_tensor(MIDDLE)
    rays, others = (torch.nn.functional.normalize(p - middle, dim=1) for p in (places, hat))
    return distance_to(rays, others) < COVER
