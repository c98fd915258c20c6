"""The light that falls on an avatar's skin, told from the skin alone.

An avatar's own light was fitted to everything that it has: what it says of normals that no skin has, those of the crown, is
said of hair. Completed skin needs what skin would look like there.

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

YAWS: Final = (-0.45, -0.2, 0.0, 0.2, 0.45)
PITCHES: Final = (-0.2, 0.0, 0.2)
"""Turns of the head, in radians, under which skin is looked at: light stays where it is while normals turn."""
STIFFNESS: Final = (0.0, *[2e-3] * 3, *[3e-2] * 5)
"""How strongly each harmonic is drawn to zero: none, first and second order. What no skin shows is told by the low orders."""


def skin_light(skin: Avatar, normals: Tensor) -> Tensor:
    """The light (9, 3) under which a skin of even albedo 1 comes closest to `skin`.

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
    gram = terms.T @ (weights * terms) + torch.diag(terms.new_tensor(STIFFNESS))
    light: Tensor = torch.linalg.solve(gram, terms.T @ (weights * colours))
    return light


def albedo_under(light: Tensor, own: Tensor, normals: Tensor) -> Tensor:
    """Albedo (N, 3) that points of these normals need under the light `own` to look as white ones do under `light`.

    Both lights are (9, 3); the normals (N, 3) are in rest space. It is the best over the turns of the head.
    """
    terms = harmonics(turned_normals(normals))
    wanted, given = (terms @ light).clamp(0, 1), terms @ own
    return ((wanted * given).sum(0) / given.square().sum(0).clamp(min=1e-3)).clamp(0, 4)


def turned_normals(normals: Tensor) -> Tensor:
    """Normals (N, 3) of rest space in camera space, (R, N, 3), under the turns looked at."""
    turns = normals.new_tensor([[pitch, yaw, 0.0] for pitch, yaw in itertools.product(PITCHES, YAWS)])
    flip = normals.new_tensor([1.0, -1.0, -1.0])
    return torch.einsum("rij,nj->rni", rodrigues(turns), normals * flip)
