"""The explicit avatar: points bound to a rig's surface, each with its own offset, radius, opacity, albedo, parts and motion.

This is the paper's DB avatar in the preset `fast`. What the reference learns as fields over space is learned here for each point,
and the skinning weights and expression bases that it learns are read off the rig where the point is bound.

Legend: N points, K shape axes, E expressions, Q pose features, J joints, Z motion components, G groups, P parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.avatar.points.motion import MotionCode
from pegasus_ray.rig.model import Rig, interpolate_on_surface


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """The rig's surface, bases and skinning weights at the places where points are bound; constant while an avatar is fitted."""

    joints: Tensor  # (J, 3) metres, rest space
    positions: Tensor  # (N, 3) metres, rest space, of the given shape
    normals: Tensor  # (N, 3)
    expression_basis: Tensor  # (E, N, 3)
    pose_basis: Tensor  # (Q, N, 3); Q is 0 on a rig without pose correctives
    skin_weights: Tensor  # (N, J)

    @staticmethod
    def of(rig: Rig, shape: Tensor, triangles: Tensor, barycentric: Tensor) -> Anchors:
        """Read the rig with `shape` (K,) at points bound to `triangles` (N,) with `barycentric` (N, 3)."""

        def at(values: Tensor) -> Tensor:
            return interpolate_on_surface(values, rig.faces, triangles, barycentric)

        vertices = rig.shaped(shape)

        def basis(values: Tensor) -> Tensor:
            return at(values.transpose(0, 1)).transpose(0, 1).contiguous()

        return Anchors(
            joints=rig.joints(shape[None])[0],
            positions=at(vertices),
            normals=torch.nn.functional.normalize(at(vertex_normals(vertices, rig.faces)), dim=-1),
            expression_basis=basis(rig.expression_basis),
            pose_basis=basis(rig.pose_basis),
            skin_weights=at(rig.skin_weights),
        )


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals (V, 3) of a mesh."""
    corners = vertices[faces]
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(0, faces[:, corner], normals)
    return torch.nn.functional.normalize(total, dim=-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Avatar:
    """A person as points on a rig.

    An avatar that wears a borrowed part holds points of several people. Each person's points are a group, which keeps the motion
    code and the light that they were learned under.
    """

    rig: str
    shape: Tensor  # (K,)
    triangles: Tensor  # (N,) int64: the rig's triangle that each point is bound to
    barycentric: Tensor  # (N, 3) the place on it
    offsets: Tensor  # (N, 3) metres from the bound place, rest space
    log_radii: Tensor  # (N,) of metres
    opacity_logits: Tensor  # (N,)
    albedo: Tensor  # (N, 3)
    part_logits: Tensor  # (N, P) over `Part`
    position_basis: Tensor  # (Z, N, 3) metres per unit of the motion code
    colour_basis: Tensor  # (Z, N, 3) colour per unit of the motion code
    groups: Tensor  # (N,) int64: which of the G people a point comes from
    lights: Tensor  # (G, 9, 3) spherical-harmonic light, one column per colour channel
    motions: tuple[MotionCode, ...]  # G of them

    def __len__(self) -> int:
        return int(self.triangles.shape[0])

    def anchors(self, rig: Rig, shape: Tensor | None = None) -> Anchors:
        """Where the points are bound, on the avatar's own shape or another (K,)."""
        return Anchors.of(rig, self.shape if shape is None else shape, self.triangles, self.barycentric)

    def roots(self, rig: Rig, shape: Tensor | None = None) -> Tensor:
        """Where the points are bound in rest space, (N, 3) metres: `anchors(...).positions`, without computing the others."""
        return interpolate_on_surface(
            rig.shaped(self.shape if shape is None else shape), rig.faces, self.triangles, self.barycentric
        )

    def places(self, rig: Rig, shape: Tensor | None = None) -> Tensor:
        """Where the points lie in rest space, (N, 3) metres, on the avatar's own shape or another (K,)."""
        return self.roots(rig, shape) + self.offsets

    @property
    def parts(self) -> Tensor:
        """The part that each point most likely belongs to, (N,) indices of `Part`."""
        return self.part_logits.argmax(-1)

    def canonical(self, anchors: Anchors) -> CanonicalPoints:
        """The points in rest space; differentiable in every tensor of the avatar."""
        return CanonicalPoints(
            joints=anchors.joints,
            positions=anchors.positions + self.offsets,
            normals=anchors.normals,
            radii=self.log_radii.exp(),
            opacity=OPACITY_LIMIT * torch.sigmoid(self.opacity_logits),
            albedo=self.albedo,
            part_logits=self.part_logits,
            expression_basis=anchors.expression_basis,
            pose_basis=anchors.pose_basis,
            skin_weights=anchors.skin_weights,
            position_basis=self.position_basis,
            colour_basis=self.colour_basis,
            light=self.lights[0] if len(self.motions) == 1 else self.lights[self.groups],
        )

    def motion(self, expression: Tensor, head: Tensor, torso: Tensor) -> Tensor:
        """Motion codes of frames: (B, Z), or (B, Z, N) where the avatar has several groups."""
        codes = [motion.encode(expression, head, torso) for motion in self.motions]
        return codes[0] if len(codes) == 1 else torch.stack(codes, dim=-1)[..., self.groups]

    def select(self, keep: Tensor) -> Avatar:
        """Only the points that `keep` names, by mask or by index (N',)."""
        chosen = {name: getattr(self, name)[keep] for name in PER_POINT} | {
            name: getattr(self, name)[:, keep] for name in BASES
        }
        return self.with_tensors(chosen)

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Avatar:
        """The same avatar with other values for the tensors named."""
        changed: dict[str, Any] = dict(tensors)
        return replace(self, **changed)

    def to(self, device: torch.device | str) -> Avatar:
        """The same avatar on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        motions = tuple(motion.to(device) for motion in self.motions)
        return replace(
            self.with_tensors({name: tensor.to(device) for name, tensor in tensors.items()}), motions=motions
        )

    def detach(self) -> Avatar:
        """The same avatar, cut off from the autograd graph."""
        tensors = (field.name for field in fields(self) if isinstance(getattr(self, field.name), Tensor))
        return self.with_tensors({name: getattr(self, name).detach() for name in tensors})


OPACITY_LIMIT = 0.99
"""The largest opacity of a point. Below 1, so that points behind it still get a gradient."""

PER_POINT = ("triangles", "barycentric", "offsets", "log_radii", "opacity_logits", "albedo", "part_logits", "groups")
"""The tensors whose first axis is the points."""

BASES = ("position_basis", "colour_basis")
"""The tensors whose second axis is the points."""


def join(first: Avatar, second: Avatar) -> Avatar:
    """Both avatars' points in one avatar, on the first one's shape; each keeps its own motion codes and light.

    The second's points keep their bindings and offsets. That aligns them, since both avatars are bound to one rig.
    """
    components = max(first.position_basis.shape[0], second.position_basis.shape[0])
    one, two = _pad(first, components), _pad(second, components)
    two = replace(two, groups=two.groups + len(one.motions))
    together = {name: torch.cat([getattr(one, name), getattr(two, name)]) for name in (*PER_POINT, "lights")}
    together |= {name: torch.cat([getattr(one, name), getattr(two, name)], dim=1) for name in BASES}
    return replace(one.with_tensors(together), motions=one.motions + two.motions)


def _pad(avatar: Avatar, components: int) -> Avatar:
    """The same avatar with zero motion components added until there are `components`."""
    extra = components - avatar.position_basis.shape[0]
    if extra == 0:
        return avatar

    def grow(basis: Tensor) -> Tensor:
        return torch.cat([basis, basis.new_zeros(extra, *basis.shape[1:])])

    motions = tuple(
        replace(
            motion, components=grow(motion.components), scale=torch.cat([motion.scale, motion.scale.new_ones(extra)])
        )
        for motion in avatar.motions
    )
    return replace(avatar.with_tensors({name: grow(getattr(avatar, name)) for name in BASES}), motions=motions)


def join_group(first: Avatar, second: Avatar) -> Avatar:
    """Both avatars' points in one avatar, where the two have the same groups: the same motion codes, the same lights."""
    joined = join(first, second)
    return replace(joined, groups=torch.cat([first.groups, second.groups]), lights=first.lights, motions=first.motions)
