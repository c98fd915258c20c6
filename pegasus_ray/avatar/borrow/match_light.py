"""Matching the light of two videos by the whites of the eyes, which are white in everybody.

Skin cannot tell the light, because people's skin differs more than lamps do. Without this correction a mouth that was filmed in a
warm, dim room is a dark stain on a face that was filmed by a window.

Source: the constants were measured on real clips and studio people (docs/performance.md, Recombining).
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import in_place
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

WHITE_QUANTILE: Final = 0.7
"""The points of an eye that are at least as bright as this quantile are taken for its white."""
LEAST_POINTS: Final = 20
"""With fewer points of the eyes the light is not estimated."""
FIT_ERROR_LOG: Final = 0.16
"""Natural logarithm of the ratio by which two fits under the same light differ: this much of a difference is ignored."""
MAX_DIFFERENCE_LOG: Final = 0.9
"""Natural logarithm of the largest correction: a larger difference has another cause than the light."""


def match_light(source: Avatar, wearer: Avatar, rig: Rig) -> Avatar:
    """The source as it would look in the wearer's light: all its colours times the ratio of the two whites.

    The logarithm of the ratio is first shrunk by `FIT_ERROR_LOG`. If either avatar shows too little of its eyes, the source is
    returned unchanged.
    """
    theirs, own = whites(source, rig), whites(wearer, rig)
    if theirs is None or own is None:
        return source
    ratio = (own.clamp(min=1e-2) / theirs.clamp(min=1e-2)).log()
    gain = (ratio.sign() * (ratio.abs() - FIT_ERROR_LOG).clamp(0, MAX_DIFFERENCE_LOG)).exp()
    return source.with_tensors({"albedo": source.albedo * gain, "colour_basis": source.colour_basis * gain})


def whites(avatar: Avatar, rig: Rig) -> Tensor | None:
    """The colour (3,) of the whites of the eyes under the constant term of the avatar's light; None with too few points."""
    eyes = avatar.select(in_place(avatar, Part.EYES, rig))
    if len(eyes) < LEAST_POINTS:
        return None
    colours = eyes.albedo * eyes.lights[eyes.groups, 0]
    brightness = colours.mean(1)
    return torch.as_tensor(colours[brightness >= brightness.quantile(WHITE_QUANTILE)].median(0).values)
