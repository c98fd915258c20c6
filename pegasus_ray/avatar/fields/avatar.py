"""The avatar of the preset `paper`: points in a generic canonical space, and fields over it that a latent code conditions.

Generic canonical → subject canonical → rig canonical → posed (paper Eqs. 5–9). The canonical head has its mouth open, so that
the lips are apart; closing it and the person's shape are constants of the place on the rig that a point is bound to (B_S of
Eq. 8, read at the rig's nearest surface point).

Legend: N points, K shape axes, E expressions, Q pose features, Z motion components, S = Q + E + Z signals, J joints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.canonical import CanonicalField
from pegasus_ray.avatar.fields.chunks import in_chunks
from pegasus_ray.avatar.fields.codes import CodeBook
from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fields.deformer import Deformation, Deformer
from pegasus_ray.avatar.fields.normals import softmax_jacobian
from pegasus_ray.avatar.fields.points import FieldPoints, Stretch
from pegasus_ray.avatar.fields.shading_net import ShadingNet
from pegasus_ray.avatar.points.avatar import OPACITY_LIMIT, Anchors, Avatar
from pegasus_ray.rig.model import Rig, surface

OPEN_MOUTH = {"jawOpen": 0.5}
"""Expressions of the canonical head, where the rig has them."""

PALEST = 0.02
"""From black and from white, of a colour that can be tinted."""

LEAST_WEIGHT = 1e-4
"""Of a joint on a point, so that its logarithm is finite."""

SURE_OPACITY = 6.0
"""Logit of the opacity of a field avatar's points: the paper's are opaque at their centres."""


class FieldAvatar(nn.Module):
    """Networks, codes and the points they are evaluated at.

    Args:
        rig: the rig that points are bound to.
        points: N places: of it the binding, the offsets from the canonical head, radii and part logits are used.
        config: sizes.
        choices: how many codes each block has; one where it is not named.
        generator: the source of chance.
    """

    def __init__(
        self,
        rig: Rig,
        points: Avatar,
        config: FieldConfig,
        generator: torch.Generator,
        *,
        choices: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.features, self.expressions = len(rig.pose_basis), len(rig.expression_basis)
        components = len(points.position_basis)
        # Weights are drawn from torch's global source: lend it this one, so that a seed decides them.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            self.codes = CodeBook(choices or {}, config.code, generator)
            z = self.codes.width
            self.deformer = Deformer(
                z,
                signals=self.features + self.expressions + components,
                joints=len(rig.joint_names),
                width=config.deformer_width,
                depth=config.deformer_depth,
            )
            self.field = CanonicalField(
                z,
                width=config.field_width,
                depth=config.field_depth,
                skip=config.field_skip,
                frequencies=config.frequencies,
                levels=config.grid_levels,
                generator=generator,
            )
            if config.own_looks:
                self.field.leave_colours()
            self.shading = ShadingNet(z, width=config.shading_width, depth=config.shading_depth)

    def canonical(
        self,
        points: Avatar,
        homes: Tensor,  # (N, 3) `canonical_homes` of the points
        anchors: Anchors,
        chosen: Mapping[str, int] | None = None,
    ) -> FieldPoints:
        """The points under the code that `chosen` names, on the shape of `anchors`."""
        return self.canonical_of(points, homes, anchors, self.codes(chosen or {}))

    def canonical_of(self, points: Avatar, homes: Tensor, anchors: Anchors, code: Tensor) -> FieldPoints:
        """The points under a code z, which may lie between learned ones."""
        config = self.config
        generic = homes + points.offsets
        deformed = self.deformer(generic, code, tangents=config.field_normals)
        to_subject = deformed.to_subject if config.subject_stage else torch.zeros_like(generic)
        to_rig = deformed.to_rig if config.rig_stage else torch.zeros_like(generic)
        distance, gradient, albedo, membership = in_chunks(
            lambda rows: self.field(rows, code).parts(), generic + to_subject, config.chunk
        )
        weights = self._weights(deformed, anchors)
        normals = nn.functional.normalize(gradient, dim=-1)
        stretch = None
        if deformed.tangents is not None:
            stretch, normals = self._stretch(deformed, weights, normals)
        return FieldPoints(
            joints=anchors.joints,
            positions=anchors.positions + points.offsets + to_subject + to_rig,
            normals=normals,
            radii=points.log_radii.exp(),
            opacity=OPACITY_LIMIT * torch.sigmoid(points.opacity_logits),
            albedo=tint(points.albedo, albedo) if config.own_looks else albedo,
            part_logits=points.part_logits,
            pose_basis=self._own(anchors.pose_basis),
            expression_basis=self._own(anchors.expression_basis),
            position_basis=self._brought(points.position_basis),
            skin_weights=weights,
            colour_basis=points.colour_basis,
            light=points.lights[0],
            distance=distance,
            gradient=gradient,
            membership=membership,
            bases=deformed.bases,
            weight_change=weights - anchors.skin_weights,
            stretch=stretch,
            shading=self.shading,
            code=code,
            chunk=config.chunk * 8,
        )

    def _own(self, basis: Tensor) -> Tensor:
        """What the rig gives of a basis."""
        return basis if self.config.anchored else torch.zeros_like(basis)

    def _brought(self, basis: Tensor) -> Tensor:
        """What the points bring along of the motion that the rig knows nothing of."""
        return basis if self.config.own_looks else torch.zeros_like(basis[..., :1]).expand_as(basis)

    def _weights(self, deformed: Deformation, anchors: Anchors) -> Tensor:
        logits = deformed.joint_logits
        if self.config.anchored:
            logits = logits + anchors.skin_weights.clamp(min=LEAST_WEIGHT).log()
        return torch.softmax(logits, dim=-1)

    def _stretch(self, deformed: Deformation, weights: Tensor, normals: Tensor) -> tuple[Stretch, Tensor]:
        """Derivatives of the rest position, and the field's normals taken from the subject's to the generic canonical space.

        Eq. 3 has the posed place differentiated by the subject canonical one: ∂x_d/∂x_sc = ∂x_d/∂x_gc (∂x_sc/∂x_gc)⁻¹.
        """
        tangents = deformed.tangents
        assert tangents is not None
        one = torch.eye(3, dtype=normals.dtype, device=normals.device)
        subject = one + tangents.to_subject * float(self.config.subject_stage)
        still = subject + tangents.to_rig * float(self.config.rig_stage)
        stretch = Stretch(
            still=still,
            hidden=tangents.hidden,
            heads=tangents.heads,
            weights=softmax_jacobian(weights.detach(), tangents.joint_logits),
        )
        return stretch, (subject.transpose(1, 2) @ normals[..., None])[..., 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A field avatar and the points that it is evaluated at."""

    networks: FieldAvatar
    points: Avatar

    def to(self, device: torch.device | str) -> Fields:
        """The same on another device."""
        return Fields(networks=self.networks.to(device), points=self.points.to(device))

    def canonical(self, rig: Rig, shape: Tensor | None = None, code: Mapping[str, int] | None = None) -> FieldPoints:
        """The points under a code, on the avatar's own shape or another (K,), outside any graph: evaluated once, drawn often."""
        homes = canonical_homes(rig, self.points.triangles, self.points.barycentric)
        with torch.no_grad():
            return self.networks.canonical(self.points, homes, self.points.anchors(rig, shape), code)


def tint(
    colours: Tensor,  # (N, 3) 0–1
    tints: Tensor,  # (N, 3) 0–1
) -> Tensor:
    """Colours (N, 3) under tints: the odds of both multiplied, so that a tint of one half changes nothing."""
    colours = colours.clamp(PALEST, 1 - PALEST)
    light, dark = colours * tints, (1 - colours) * (1 - tints)
    return light / (light + dark).clamp(min=1e-6)


def canonical_homes(rig: Rig, triangles: Tensor, barycentric: Tensor) -> Tensor:
    """Where bound places lie on the canonical head: mean shape, mouth open; (N, 3) metres."""
    expression = torch.zeros(1, len(rig.expression_names), device=rig.template.device)
    for name, strength in OPEN_MOUTH.items():
        if name in rig.expression_names:
            expression[0, rig.expression_names.index(name)] = strength
    mean = torch.zeros(1, len(rig.shape_names), device=rig.template.device)
    return surface(rig.vertices(mean, expression)[0], rig.faces, triangles, barycentric)
