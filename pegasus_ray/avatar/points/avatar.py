"""The explicit avatar: points bound to a rig's surface, each with its own offset, radius, opacity, albedo, parts and motion.

This is the paper's DB avatar in the preset `fast`: what the reference learns as fields over space is learned here a point, and
what it learns as skinning and expression fields is read off the rig where the point is bound.

Legend: N points, K shape axes, E expressions, Q pose features, J joints, Z motion components, G groups, P parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.rig.model import Rig, surface

ROTATION_WEIGHT = 1.5
"""How much a radian of rotation counts beside a unit of expression in a motion code."""

LEAN_WEIGHT = 12.0
"""How much a metre of the torso's shift under the head counts beside a unit of expression."""

POSE_SIGNALS = 9
"""Numbers of a motion code's signal beside the expressions: the head's rotation, and the torso's pose against the head's."""

POSE_COMPONENTS = 6
"""Components of a motion code that are the pose's, at most half of all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionCode:
    """A short linear code of expression, head rotation and lean, in which a point may move and change colour beyond the rig.

    Shoulders that rise and collars that fold follow how the torso stands to the head, which no rigid torso can show. No component
    mixes the two: a face answers to expressions and a shoulder to the pose, and a mixture would drag each along with the other.
    """

    mean: Tensor  # (E + 9,)
    components: Tensor  # (Z, E + 9)
    scale: Tensor  # (Z,) one unit of each component

    @staticmethod
    def of(expression: Tensor, head: Tensor, torso: Tensor, components: int) -> MotionCode:
        """The principal components of a performance's expressions and, after them, of its poses.

        Small components get a floor under their scale (half of the first): they would be noise blown up, and what is learned on
        them does not hold on unseen frames (the facts on fitting a real video).

        Args:
            expression: (T, E).
            head: (T, 6) rotation vector and translation.
            torso: (T, 6) the same of the torso.
            components: Z; components that the performance does not span are zero.
        """
        signal = _signal(expression, head, torso)
        mean = signal.mean(0)
        moved, expressions = signal - mean, expression.shape[1]
        of_pose = min(POSE_COMPONENTS, components // 2)
        face, face_scale = _principal(moved[:, :expressions], components - of_pose)
        pose, pose_scale = _principal(moved[:, expressions:], of_pose)
        pad = torch.nn.functional.pad
        rows = torch.cat([pad(face, (0, POSE_SIGNALS)), pad(pose, (expressions, 0))])
        return MotionCode(mean=mean, components=rows, scale=torch.cat([face_scale, pose_scale]))

    @property
    def of_pose(self) -> Tensor:
        """Which components answer to the pose rather than to expressions, (Z,) bool."""
        return (self.components[:, :-POSE_SIGNALS] == 0).all(1)

    def to(self, device: torch.device | str) -> MotionCode:
        """The same code on another device."""
        return MotionCode(mean=self.mean.to(device), components=self.components.to(device), scale=self.scale.to(device))

    def encode(self, expression: Tensor, head: Tensor, torso: Tensor) -> Tensor:
        """Codes (B, Z), clamped to ±2.5, of expressions (B, E), head poses (B, 6) and torso poses (B, 6)."""
        return ((_signal(expression, head, torso) - self.mean) @ self.components.T / self.scale).clamp(-2.5, 2.5)


def _principal(moved: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Directions (components, D) in which centred signals (T, D) vary most, zero past their rank, and a unit of each."""
    _, spread, directions = torch.linalg.svd(moved, full_matrices=False)
    rank = min(components, len(spread))
    basis, deviation = moved.new_zeros(components, moved.shape[1]), moved.new_zeros(components)
    basis[:rank], deviation[:rank] = directions[:rank], spread[:rank] / max(len(moved), 1) ** 0.5
    least = max(0.5 * float(deviation[0]), 1e-3) if components else 1e-3
    return basis, deviation.clamp(min=least)


def _signal(expression: Tensor, head: Tensor, torso: Tensor) -> Tensor:
    lean = torso - head
    return torch.cat(
        [expression, ROTATION_WEIGHT * head[:, :3], ROTATION_WEIGHT * lean[:, :3], LEAN_WEIGHT * lean[:, 3:]], dim=-1
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """What the rig says at the places where points are bound; constant while an avatar is fitted."""

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
            return surface(values, rig.faces, triangles, barycentric)

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

    Points of several people may stand in one avatar (a borrowed part): each group keeps the motion code and the light that its
    points were learned under.
    """

    rig: str
    shape: Tensor  # (K,)
    triangles: Tensor  # (N,) int64
    barycentric: Tensor  # (N, 3)
    offsets: Tensor  # (N, 3) metres from the bound place, rest space
    log_radii: Tensor  # (N,) of metres
    opacity_logits: Tensor  # (N,)
    albedo: Tensor  # (N, 3)
    part_logits: Tensor  # (N, P)
    position_basis: Tensor  # (Z, N, 3)
    colour_basis: Tensor  # (Z, N, 3)
    groups: Tensor  # (N,) int64
    lights: Tensor  # (G, 9, 3)
    motions: tuple[MotionCode, ...]  # G of them

    def __len__(self) -> int:
        return int(self.triangles.shape[0])

    def anchors(self, rig: Rig, shape: Tensor | None = None) -> Anchors:
        """Where the points are bound, on the avatar's own shape or another (K,)."""
        return Anchors.of(rig, self.shape if shape is None else shape, self.triangles, self.barycentric)

    def roots(self, rig: Rig, shape: Tensor | None = None) -> Tensor:
        """Only `positions` of `anchors`, (N, 3), which is all that most of recombining asks."""
        return surface(rig.shaped(self.shape if shape is None else shape), rig.faces, self.triangles, self.barycentric)

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
        """The same avatar outside any graph."""
        tensors = (field.name for field in fields(self) if isinstance(getattr(self, field.name), Tensor))
        return self.with_tensors({name: getattr(self, name).detach() for name in tensors})


OPACITY_LIMIT = 0.99
"""No point is opaque: what lies behind keeps a gradient."""

PER_POINT = ("triangles", "barycentric", "offsets", "log_radii", "opacity_logits", "albedo", "part_logits", "groups")
BASES = ("position_basis", "colour_basis")


def join(first: Avatar, second: Avatar) -> Avatar:
    """Both avatars' points in one avatar, on the first one's shape; each keeps its own motion codes and light.

    The second's offsets are taken as they are: re-anchoring on the shared rig is what aligns them.
    """
    components = max(first.position_basis.shape[0], second.position_basis.shape[0])
    one, two = _pad(first, components), _pad(second, components)
    two = replace(two, groups=two.groups + len(one.motions))
    together = {name: torch.cat([getattr(one, name), getattr(two, name)]) for name in (*PER_POINT, "lights")}
    together |= {name: torch.cat([getattr(one, name), getattr(two, name)], dim=1) for name in BASES}
    return replace(one.with_tensors(together), motions=one.motions + two.motions)


def _pad(avatar: Avatar, components: int) -> Avatar:
    """The same avatar with zero motion components up to `components`."""
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
