"""One video's light against another's, told by the whites of the eyes: they are white in everybody.

Skin does not tell: people differ more than lamps do. Without this a mouth from a warm, dim room is a dark stain on a face that
was filmed by a window.

Source: looked at and measured on real clips and studio people (docs/performance.md, Recombining).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import in_place
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

WHITE: Final = 0.7
"""Quantile of brightness from which on an eye's points are taken for its white."""
LEAST: Final = 20
"""Points of the eyes without which nothing is said."""
UNSURE: Final = 0.16
"""In logarithms: two fits of one light differ by as much."""
MOST: Final = 0.9
"""In logarithms: beyond it something else is amiss than the light."""


def lit_as(source: Avatar, wearer: Avatar, rig: Rig) -> Avatar:
    """The source as the wearer's light would show them: all colours by the ratio of the whites, less what a fit may err by."""
    theirs, own = whites(source, rig), whites(wearer, rig)
    if theirs is None or own is None:
        return source
    ratio = (own.clamp(min=1e-2) / theirs.clamp(min=1e-2)).log()
    gain = (ratio.sign() * (ratio.abs() - UNSURE).clamp(0, MOST)).exp()
    return source.with_tensors({"albedo": source.albedo * gain, "colour_basis": source.colour_basis * gain})


def whites(avatar: Avatar, rig: Rig) -> Tensor | None:
    """The colour (3,) that the whites of the eyes have in even light; None where too little of them is there."""
    eyes = avatar.select(in_place(avatar, Part.EYES, rig))
    if len(eyes) < LEAST:
        return None
    colours = eyes.albedo * eyes.lights[eyes.groups, 0]
    brightness = colours.mean(1)
    return torch.as_tensor(colours[brightness >= brightness.quantile(WHITE)].median(0).values)
