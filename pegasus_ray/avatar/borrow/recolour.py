"""The colours of borrowed points on the wearer: skin takes the wearer's tone, hairs keep their own in the wearer's light.

Legend: N points, K shape axes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.decide import Borrowing, Way
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.avatar.points.shading import TERMS
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute, Part

SKIN_SMOOTHING_METRES: Final = 0.006
"""Decay length of the weights with which the skin's colour is averaged, by default."""
SKIN_NEIGHBOURS: Final = 48
"""Points of skin whose colours are averaged around a place."""
LEAST_GAIN, MOST_GAIN = 0.2, 5.0
"""Bounds of the factor by which borrowed skin is changed."""
DARKEST_SHARE: Final = 0.2
"""This share of a brow's points, the darkest ones, is taken for pure hair."""


def recolour(
    borrowed: Avatar, how: Borrowing, wearer: Avatar, rig: Rig, smooth: float = SKIN_SMOOTHING_METRES
) -> Avatar:
    """Borrowed points in the wearer's light and skin tone, where they hold skin: brows, and noses that are set in.

    Other parts keep their colours, which are what is borrowed.

    Args:
        borrowed: the source's points of the attribute, as they lie on the borrowed shape.
        how: what was decided; its source gives the skin around which the points were learned.
        wearer: whose skin they are to match.
        rig: that all are bound to.
        smooth: metres over which the skin's colour is averaged.
    """
    is_nose = how.attribute is Attribute.NOSE
    if len(borrowed) == 0 or not (is_nose or how.way is Way.STRANDS):
        return borrowed
    source, places = how.source, borrowed.places(rig, wearer.shape)
    skin = (Part.SKIN, Part.NOSE) if is_nose else (Part.SKIN,)
    theirs, own = (_mean_colour(places, avatar, skin, rig, wearer.shape, smooth) for avatar in (source, wearer))
    if is_nose:
        albedo = borrowed.albedo * (own / theirs.clamp(min=0.02)).clamp(LEAST_GAIN, MOST_GAIN)
    else:
        light = source.lights[borrowed.groups, 0] / wearer.lights[0, 0].clamp(min=1e-2)
        albedo = _exchange_skin(borrowed.albedo, theirs, own, light)
    return replace(borrowed, albedo=albedo, lights=wearer.lights[:1].expand(len(source.motions), TERMS, 3))


def _exchange_skin(albedo: Tensor, theirs: Tensor, own: Tensor, light: Tensor) -> Tensor:
    """Colours of brows (N, 3) with the skin between the hairs exchanged, from `theirs` to `own` (N, 3).

    A point is a mixture of skin and hair; how dark it is between the two says how much of it is hair.
    """
    brightness, skin = albedo.mean(1), theirs.mean(1)
    hair = albedo[brightness <= brightness.quantile(DARKEST_SHARE)].mean(0)
    share = ((skin - brightness) / (skin - hair.mean()).clamp(min=0.02)).clamp(0, 1)[:, None]
    return (1 - share) * own + share * hair * light


def _mean_colour(
    places: Tensor, avatar: Avatar, skin: tuple[Part, ...], rig: Rig, shape: Tensor, smooth: float
) -> Tensor:
    """The mean colour (N, 3) of an avatar's points of the parts `skin` around `places` (N, 3), on `shape` (K,)."""
    part = avatar.parts
    face = avatar.select(torch.stack([part == one for one in skin]).any(0))
    distance, near = nearest(places, face.places(rig, shape), SKIN_NEIGHBOURS)
    weight = torch.softmax(-distance / smooth, dim=-1) * torch.sigmoid(face.opacity_logits)[near] + 1e-9
    return (face.albedo[near] * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
