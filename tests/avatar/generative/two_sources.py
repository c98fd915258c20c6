"""A generative avatar of two sources, before any training, and how an avatar looks."""

from __future__ import annotations

from functools import cache

import torch

from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.initialise import initialise_generative
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute
from tests.painted import painted_avatar, parameters


@cache
def two_sources() -> GenerativeAvatar:
    """Hair of `anna` and `bert`, the nose of `anna`."""
    anna, bert = ("anna", painted_avatar(1)), ("bert", painted_avatar(2))
    lenders = {Attribute.HAIR: [anna, bert], Attribute.NOSE: [anna]}
    return initialise_generative(painted_avatar(), lenders, load_rig(), code_size=4)


def picture(avatar: Avatar, size: int = 64) -> torch.Tensor:
    """Three frames of an avatar, (3, S, S, 3)."""
    rig = load_rig()
    with torch.no_grad():
        drive = parameters(3).drive(avatar)
        return render_points(avatar.canonical(avatar.anchors(rig)), rig, drive, size).image
