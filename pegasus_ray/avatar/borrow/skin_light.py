"""The light that falls on an avatar's skin, estimated from the skin alone.

An avatar's own light was fitted to all its points. For normals that no visible skin has, those of the crown for instance, it
describes how hair looks. Skin that is completed under hair needs the light that skin would be seen in.

Legend: N points, R turns of the head.
"""

from __future__ import annotations

import itertools
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.shading import harmonics
from pegasus_ray.rig.model import rodrigues

YAWS_RADIANS: Final = (-0.45, -0.2, 0.0, 0.2, 0.45)
PITCHES_RADIANS: Final = (-0.2, 0.0, 0.2)
"""Head poses over which the light's effect is averaged: the light is fixed in camera space while the normals turn."""
RIDGE: Final = (0.0, *[2e-3] * 3, *[3e-2] * 5)
"""Ridge of the least squares for the harmonics of order 0, 1 and 2: higher orders stay small where skin does not show them."""


def skin_light(skin: Avatar, normals: Tensor) -> Tensor:
    """The light (9, 3) under which white skin (albedo 1 everywhere) looks most like `skin`, by weighted least squares.

    Args:
        skin: points of bare skin, of one group.
        normals: (N, 3) theirs, rest space.
    """
    turned = turned_normals(normals)  # (R, N, 3)
    facing = (-turned[..., 2]).clamp(min=0).flatten()
    terms = harmonics(turned).flatten(0, 1)
    colours = (harmonics(turned) @ skin.lights[0] * skin.albedo).flatten(0, 1)
    weights = (facing * torch.sigmoid(skin.opacity_logits).repeat(len(turned)))[:, None]
    weights = weights / weights.sum().clamp(min=1e-6)
    gram = terms.T @ (weights * terms) + torch.diag(terms.new_tensor(RIDGE))
    light: Tensor = torch.linalg.solve(gram, terms.T @ (weights * colours))
    return light


def albedo_under(light: Tensor, own: Tensor, normals: Tensor) -> Tensor:
    """The albedo (N, 3) with which points under the light `own` look like white points under `light`.

    Both lights are (9, 3), the normals (N, 3) in rest space. The albedo is the least-squares one over the turns of the head.
    """
    terms = harmonics(turned_normals(normals))
    wanted, given = (terms @ light).clamp(0, 1), terms @ own
    return ((wanted * given).sum(0) / given.square().sum(0).clamp(min=1e-3)).clamp(0, 4)


def turned_normals(normals: Tensor) -> Tensor:
    """Normals (N, 3) of rest space in camera space, (R, N, 3), for each turn of the head."""
    turns = normals.new_tensor([[pitch, yaw, 0.0] for pitch, yaw in itertools.product(PITCHES_RADIANS, YAWS_RADIANS)])
    flip = normals.new_tensor([1.0, -1.0, -1.0])
    return torch.einsum("rij,nj->rni", rodrigues(turns), normals * flip)
