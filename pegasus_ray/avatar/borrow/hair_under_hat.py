"""Taking off the wearer's hair where a borrowed hat covers it, or where it would stick out around the hat.

Legend: N points of the wearer, M points of the hat.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.complete_scalp import complete_scalp
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.neighbours import distance_to
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

FLAT_METRES: Final = 0.008
"""Hair next to the hat stays if it stands off the head by less than this."""
RISE: Final = 0.5
"""How many metres more it may stand off for each metre that it is away from the hat."""
RIM_METRES: Final = 0.01
"""The distance from the hat up to which hair must lie flat; beyond it `RISE` begins."""
HEAD_MIDDLE_METRES: Final = (0.0, 0.03, -0.09)
"""The middle of the head, in rig space. Hair on a ray from here through the hat is covered by the hat."""
RAY_RADIANS: Final = 0.08
"""A ray within this angle of a point of the hat passes through the hat: 8 mm on the head, the distance of a hat's points."""
SINK_METRES: Final = 0.006
"""How far points that a hat covers are moved into the head, so that they do not show between the hat's points."""


def under_hat(wearer: Avatar, hat: Avatar, rig: Rig) -> Avatar:
    """The wearer without a hat of their own and without the hair that `hat` would press flat or cover; the scalp is completed.

    Args:
        wearer: who puts the hat on.
        hat: the hat's points alone, as they will lie on the wearer's shape.
        rig: the rig that both are bound to.
    """
    if len(hat) == 0:
        return wearer.select(wearer.parts != Part.HAT)
    places = hat.places(rig, wearer.shape)
    kept = wearer.parts != Part.HAT
    kept &= ~pressed_flat(wearer, places, rig)
    bare = complete_scalp(wearer.select(kept), wearer.select(~kept), rig)
    points = bare.places(rig)
    rays = torch.nn.functional.normalize(points - points.new_tensor(HEAD_MIDDLE_METRES), dim=1)
    sunk = SINK_METRES * _covered(points, places)[:, None] * rays
    return replace(bare, offsets=bare.offsets - sunk)


def pressed_flat(wearer: Avatar, hat: Tensor, rig: Rig) -> Tensor:
    """Which of the wearer's points, (N,) bool, are hair that a hat with points at `hat` (M, 3) would press flat or cover."""
    pressed = torch.zeros(len(wearer), dtype=torch.bool, device=hat.device)
    hair = (wearer.parts == Part.HAIR).nonzero()[:, 0]
    if len(hair) and len(hat):
        vertices = rig.shaped(wearer.shape)
        places = wearer.places(rig)[hair]
        away = distance_to(places, hat)
        allowed = FLAT_METRES + RISE * (away - RIM_METRES).clamp(min=0)
        pressed[hair] = distance_to(places, vertices) >= allowed
        pressed[hair] |= _covered(places, hat)
    return pressed


def _covered(places: Tensor, hat: Tensor) -> Tensor:
    """Which places (N, 3) lie on a ray from the middle of the head through the hat (M, 3), at any distance, (N,) bool."""
    middle = hat.new_tensor(HEAD_MIDDLE_METRES)
    rays, others = (torch.nn.functional.normalize(p - middle, dim=1) for p in (places, hat))
    return distance_to(rays, others) < RAY_RADIANS
