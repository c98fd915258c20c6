"""Regions of a rig's surface where skin, hair and cloth may be, as weights of its triangles.

Legend: V vertices, F triangles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """For each region the weight of every triangle, (F,): its area in m² where it lies in the region, else 0."""

    surface: Tensor  # everywhere; area counts four times on the face, for detail, and 0.6 times on the torso
    scalp: Tensor
    fall: Tensor  # behind and beside the neck, where long hair falls
    cloth: Tensor
    forehead: Tensor


def regions(rig: Rig, vertices: Tensor) -> Regions:
    """The regions of a rig whose rest vertices are (V, 3) metres; the origin is midway between the eyes."""
    corners = vertices[rig.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) / 2
    x, y, z = corners.mean(1).unbind(-1)
    head = 1 - torso_share(rig)[rig.faces].mean(1)
    parts = rig.parts
    skin = (parts == Part.SKIN) | (parts == Part.NECK) | (parts == Part.CLOTH) | (parts == Part.EARS)
    face = (z > -0.055) & (y < 0.035) & (y > -0.16) & (x.abs() < 0.065)
    scalp = skin & (head > 0.9) & (y > -0.07) & ~((z > -0.055) & (y < 0.035) & (x.abs() < 0.062))
    fall = skin & (head > 0.05) & (y < -0.02) & (y > -0.26) & ~face & (z < -0.02)
    cloth = skin & (head < 0.6)
    detail = 1 + 3 * (face & (head > 0.5)).float()
    return Regions(
        surface=area * detail * torch.where(head < 0.3, 0.6, 1.0),
        scalp=area * scalp,
        fall=area * fall,
        cloth=area * cloth,
        forehead=area * (skin & (head > 0.9) & (y > 0.012) & ~scalp),
    )


def torso_share(rig: Rig) -> Tensor:
    """How much the torso moves each vertex, (V,) 0–1: the skinning weight of the root and half of the neck's."""
    shares = {"root": 1.0, "neck": 0.5}
    return rig.skin_weights @ torch.tensor([shares.get(name, 0.0) for name in rig.joint_names]).to(rig.skin_weights)
