"""The avatar of the preset `paper`: points in a generic canonical space, and networks over it that a latent code conditions.

A point goes from generic canonical to subject canonical to rig canonical to posed space (paper Eqs. 5–9). The canonical head has
its mouth open, so that upper and lower lip are apart and the networks can tell them apart. Closing the mouth and the person's
shape (B_S of Eq. 8) are not learned: both are read from the rig at the surface point that a point is bound to.

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
from pegasus_ray.avatar.fields.points import DeformationJacobian, FieldPoints
from pegasus_ray.avatar.fields.shading_net import ShadingNet
from pegasus_ray.avatar.points.avatar import OPACITY_LIMIT, Anchors, Avatar
from pegasus_ray.rig.model import Rig, interpolate_on_surface

CANONICAL_EXPRESSION = {"jawOpen": 0.5}
"""Expressions of the canonical head; those that the rig does not have are left out."""

TINT_MARGIN = 0.02
"""Colours are clamped this far away from 0 and 1 before they are tinted: a tint could not change 0 and 1."""

MIN_SKIN_WEIGHT = 1e-4
"""Smallest weight of a joint on a point for which a logarithm is taken, so that it is finite."""

OPAQUE_LOGIT = 6.0
"""Opacity logit of a field avatar's points: the paper's points are opaque at their centres."""


class FieldAvatar(nn.Module):
    """The networks and codes of an avatar. The points at which they are evaluated are passed in.

    Args:
        rig: the rig that points are bound to.
        points: N points; only the number of components of their motion code matters here.
        config: sizes of the networks.
        choices: number of codes per block; a block that is not named has one.
        generator: the source of random numbers.
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
        # PyTorch draws initial weights from its global generator. It is seeded from ours here, and restored afterwards.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator, device="cpu")))
            self.codes = CodeBook(choices or {}, config.code, generator)
            z = self.codes.width
            self.deformer = Deformer(
                z,
                signals=self.features + self.expressions + components,
                joints=len(rig.joint_names),
                width=config.deformer_width,
                depth=config.deformer_depth,
            )
            self.field = CanonicalField(z, config, generator)
            if config.own_looks:
                self.field.start_with_neutral_albedo()
            self.shading = ShadingNet(z, width=config.shading_width, depth=config.shading_depth)

    def canonical(
        self,
        points: Avatar,
        roots: Tensor,  # (N, 3) `canonical_roots` of the points
        anchors: Anchors,
        chosen: Mapping[str, int] | None = None,
    ) -> FieldPoints:
        """The points under the code that `chosen` names, on the shape of `anchors`."""
        return self.canonical_of(points, roots, anchors, self.codes(chosen or {}))

    def canonical_of(self, points: Avatar, roots: Tensor, anchors: Anchors, code: Tensor) -> FieldPoints:
        """The points under a code z (Z,), which may lie between learned ones, on the shape of `anchors`.

        Of the points, the binding, the offsets from the canonical head, radii, opacity and part logits are used.
        """
        config = self.config
        generic = roots + points.offsets
        deformed = self.deformer(generic, code, tangents=config.field_normals)
        to_subject = deformed.to_subject if config.subject_stage else torch.zeros_like(generic)
        to_rig = deformed.to_rig if config.rig_stage else torch.zeros_like(generic)
        distance, gradient, albedo, membership = in_chunks(
            lambda rows: self.field(rows, code).parts(), generic + to_subject, config.chunk
        )
        weights = self._skin_weights(deformed, anchors)
        normals = nn.functional.normalize(gradient, dim=-1)
        jacobian = None
        if deformed.tangents is not None:
            jacobian, normals = self._jacobian(deformed, weights, normals)
        return FieldPoints(
            joints=anchors.joints,
            positions=anchors.positions + points.offsets + to_subject + to_rig,
            normals=normals,
            radii=points.log_radii.exp(),
            opacity=OPACITY_LIMIT * torch.sigmoid(points.opacity_logits),
            albedo=tint(points.albedo, albedo) if config.own_looks else albedo,
            part_logits=points.part_logits,
            pose_basis=self._rig_basis(anchors.pose_basis),
            expression_basis=self._rig_basis(anchors.expression_basis),
            position_basis=self._point_basis(points.position_basis),
            skin_weights=weights,
            colour_basis=points.colour_basis,
            light=points.lights[0],
            distance=distance,
            gradient=gradient,
            membership=membership,
            bases=deformed.bases,
            weight_change=weights - anchors.skin_weights,
            jacobian=jacobian,
            shading=self.shading,
            code=code,
            chunk=config.chunk * 8,
        )

    def _rig_basis(self, basis: Tensor) -> Tensor:
        """A basis of the rig, or zeros where the networks learn motion without the rig's."""
        return basis if self.config.anchored else torch.zeros_like(basis)

    def _point_basis(self, basis: Tensor) -> Tensor:
        """The points' own motion basis, or zeros where the networks learn that motion from nothing."""
        return basis if self.config.own_looks else torch.zeros_like(basis[..., :1]).expand_as(basis)

    def _skin_weights(self, deformed: Deformation, anchors: Anchors) -> Tensor:
        logits = deformed.joint_logits
        if self.config.anchored:
            logits = logits + anchors.skin_weights.clamp(min=MIN_SKIN_WEIGHT).log()
        return torch.softmax(logits, dim=-1)

    def _jacobian(self, deformed: Deformation, weights: Tensor, normals: Tensor) -> tuple[DeformationJacobian, Tensor]:
        """Derivatives of the rest position, and the field's normals moved from subject to generic canonical space.

        Eq. 3 has the posed place differentiated by the subject canonical one: ∂x_d/∂x_sc = ∂x_d/∂x_gc (∂x_sc/∂x_gc)⁻¹.
        """
        tangents = deformed.tangents
        assert tangents is not None
        identity = torch.eye(3, dtype=normals.dtype, device=normals.device)
        subject = identity + tangents.to_subject * float(self.config.subject_stage)
        motionless = subject + tangents.to_rig * float(self.config.rig_stage)
        jacobian = DeformationJacobian(
            motionless=motionless,
            hidden=tangents.hidden,
            heads=tangents.heads,
            weights=softmax_jacobian(weights.detach(), tangents.joint_logits),
        )
        return jacobian, (subject.transpose(1, 2) @ normals[..., None])[..., 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A field avatar and the points that it is evaluated at."""

    networks: FieldAvatar
    points: Avatar

    def to(self, device: torch.device | str) -> Fields:
        """The same on another device."""
        return Fields(networks=self.networks.to(device), points=self.points.to(device))

    def canonical(self, rig: Rig, shape: Tensor | None = None, code: Mapping[str, int] | None = None) -> FieldPoints:
        """The points under a code, on the avatar's own shape or another (K,), without gradients.

        They do not depend on the frame, so they are evaluated once for all frames of a video.
        """
        roots = canonical_roots(rig, self.points.triangles, self.points.barycentric)
        with torch.no_grad():
            return self.networks.canonical(self.points, roots, self.points.anchors(rig, shape), code)


def tint(
    colours: Tensor,  # (N, 3) 0–1
    tints: Tensor,  # (N, 3) 0–1
) -> Tensor:
    """Colours (N, 3) whose odds are the product of the colours' and the tints' odds: a tint of one half changes nothing."""
    colours = colours.clamp(TINT_MARGIN, 1 - TINT_MARGIN)
    light, dark = colours * tints, (1 - colours) * (1 - tints)
    return light / (light + dark).clamp(min=1e-6)


def canonical_roots(rig: Rig, triangles: Tensor, barycentric: Tensor) -> Tensor:
    """Where points are bound on the canonical head (mean shape, mouth open), without their offsets: (N, 3) metres."""
    expression = torch.zeros(1, len(rig.expression_names), device=rig.template.device)
    for name, strength in CANONICAL_EXPRESSION.items():
        if name in rig.expression_names:
            expression[0, rig.expression_names.index(name)] = strength
    mean = torch.zeros(1, len(rig.shape_names), device=rig.template.device)
    return interpolate_on_surface(rig.vertices(mean, expression)[0], rig.faces, triangles, barycentric)
