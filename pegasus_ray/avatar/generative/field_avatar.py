"""The generative avatar of the preset `paper`: points that move with the code, and networks that the same code conditions.

The points are those of `GenerativeAvatar`: shared by all sources, with places, radii, opacities and first colours that are affine
in the code, so that every code reproduces its source before any training. Networks over the generic canonical space add what they
learn: offsets, motion, skinning, tint, normals, shading, χ (paper Eqs. 4–10). Decoding evaluates them under a code and bakes the
result to explicit points.

Legend: F frames of a performance, D learnable numbers of a block's code, Z length of the whole code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.avatar.fields.avatar import FieldAvatar, canonical_roots
from pegasus_ray.avatar.fields.bake import bake_points
from pegasus_ray.avatar.fields.codes import IDENTITY
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldGenerative(GenerativeAvatar):
    """A generative avatar with networks."""

    networks: FieldAvatar
    performance: Parameters  # F frames, over which decoding fits motion and light

    def decode(
        self,
        codes: Mapping[Attribute, Tensor],
        rig: Rig,
        *,
        identity: Tensor | None = None,
        pressed: Tensor | None = None,
    ) -> Avatar:
        """See `GenerativeAvatar`."""
        identity = self.identity.codes[0] if identity is None else identity
        with torch.no_grad():
            points = GenerativeAvatar.decode(self, codes, rig, identity=identity, pressed=pressed)
            roots, anchors = canonical_roots(rig, points.triangles, points.barycentric), points.anchors(rig)
            drawn = self.networks.canonical_of(points, roots, anchors, whole_code(self.networks, codes, identity))
            return bake_points(drawn, points, anchors, rig, self.performance)


def whole_code(networks: FieldAvatar, codes: Mapping[Attribute, Tensor], identity: Tensor) -> Tensor:
    """The code z (Z,) made of the blocks' codes (D,); blocks that are not named have the person's own."""
    return networks.codes.join({IDENTITY: identity} | {attribute.value: code for attribute, code in codes.items()})
