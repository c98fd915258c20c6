"""Points whose motion, colour and normals come from networks: the preset `paper`'s `CanonicalPoints` (paper Eqs. 5–10).

All networks but the shading are evaluated before a `FieldPoints` is made. A frame then costs skinning, one small Jacobian per
point, shading and the rasteriser.

Legend: B frames, N points, S signals (pose features, expressions, motion components), J joints, H activations,
Z length of the code.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.avatar.fields.chunks import in_chunks
from pegasus_ray.avatar.fields.deformer import Bases
from pegasus_ray.avatar.fields.normals import rest_jacobian, skinning_jacobian, transform_normals
from pegasus_ray.avatar.fields.shading_net import ShadingNet
from pegasus_ray.avatar.points.canonical import CanonicalPoints, Drive, rest_points, signals
from pegasus_ray.rig.model import Rig, bone_transforms, skin, skin_normals


@dataclass(frozen=True, slots=True, kw_only=True)
class DeformationJacobian:
    """Derivatives of the deformation by the generic canonical place, without gradients; each frame's Jacobian is made of them."""

    motionless: Tensor  # (N, 3, 3) of the rest position without any motion
    hidden: Tensor  # (3, N, H) of the activations that the motion bases are linear in, with the direction first
    heads: Tensor  # (S, 3, H) that linear map
    weights: Tensor  # (N, J, 3) of the skinning weights


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldPoints(CanonicalPoints):
    """The points of a field avatar under one code and one shape."""

    distance: Tensor  # (N,) signed distance at the points in field units; 0 on the surface
    gradient: Tensor  # (N, 3) of the signed distance, subject canonical space
    membership: Tensor  # (N,) logit of χ, the probability that a point belongs to the synthesised part
    bases: Bases  # what the networks add to the rig's bases
    weight_change: Tensor  # (N, J) what the networks add to the rig's skinning weights
    jacobian: DeformationJacobian | None  # without it, normals are rotated with the bones only
    shading: ShadingNet
    code: Tensor  # (Z,)
    chunk: int  # normals that are shaded at once

    def pose(self, rig: Rig, drive: Drive) -> tuple[Tensor, Tensor]:
        """Positions and unit normals (B, N, 3) in camera space; normals carry gradients to the distance field."""
        transforms = bone_transforms(rig, drive.pose, self.joints[None])
        rest = self.rest(rig, drive)
        positions = skin(rest, self.skin_weights, transforms)
        if self.jacobian is None:
            return positions, skin_normals(self.normals, self.skin_weights.detach(), transforms.detach())
        own = self.jacobian
        with torch.no_grad():
            moved = rest_jacobian(own.motionless, own.hidden, own.heads, signals(rig, drive))
            jacobian = skinning_jacobian(rest, moved, self.skin_weights, own.weights, transforms)
        return positions, transform_normals(self.normals, jacobian)

    def rest(self, rig: Rig, drive: Drive) -> Tensor:
        """Points moved by the rig's bases and the networks', before skinning (Eq. 8): (B, N, 3) in metres."""
        return rest_points(self, rig, drive) + self.bases.displacement(signals(rig, drive))

    def colours(self, normals: Tensor, motion: Tensor) -> Tensor:
        """Colours (B, N, 3): shading ∘ albedo."""
        shading = in_chunks(lambda rows: (self.shading(rows, self.code),), normals.flatten(0, 1), self.chunk)[0]
        return shading.view_as(normals) * self.albedo
