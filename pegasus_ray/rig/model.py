"""A parametric head: shape, expression and pose to points in camera space.

Rig space: metres, y up, face towards +z, x to the person's left, origin midway between the eyeballs. Camera space:
x right, y down, z forward. A pose is a rotation vector and a translation; zero rotation looks into the camera.

Legend: B frames, V vertices, F faces, K shape axes, E expressions, Q pose features, J joints, N points on the surface,
L landmarks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Self

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from pegasus_ray.library.performance import Performance
from pegasus_ray.library.track import LANDMARKS
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

GLOBAL_GROUPS = ("head", "neck", "macro")
"""Groups of identity axes that describe the whole head, not one feature of it."""

NUMBERED_PREFIX = "expression/"
"""Begins the name of an expression that is a principal axis of many faces; its value is signed, in standard deviations."""


class Tissue(IntEnum):
    """What a face of the mesh is made of."""

    SKIN = 0
    LIPS = 1
    EYE = 2
    TEETH = 3
    TONGUE = 4
    LASHES = 5
    MOUTH = 6  # the inside of the mouth


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkEmbedding:
    """Where each landmark of the face model lies on the mesh."""

    triangles: Tensor  # (L,) int64 face of the rig
    barycentric: Tensor  # (L, 3)
    weights: Tensor  # (L,) how much a fit trusts it, 0–1; 0 where the place is unknown
    drift: Tensor | None = None  # (6, L, 3) metres in rig space: offset from that place for each term of `view_terms`

    @staticmethod
    def unknown() -> LandmarkEmbedding:
        """An embedding that knows no landmark's place."""
        return LandmarkEmbedding(
            triangles=torch.zeros(LANDMARKS, dtype=torch.int64),
            barycentric=torch.full((LANDMARKS, 3), 1 / 3),
            weights=torch.zeros(LANDMARKS),
        )

    def to(self, device: torch.device | str) -> LandmarkEmbedding:
        """The same on another device."""
        return LandmarkEmbedding(
            triangles=self.triangles.to(device),
            barycentric=self.barycentric.to(device),
            weights=self.weights.to(device),
            drift=None if self.drift is None else self.drift.to(device),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """A parametric head with named identity axes and expressions.

    An imported rig (FLAME) has numbered axes, none of which belongs to an attribute or is global. A swap on it then takes
    all axes from the target, as the paper does with β.
    """

    name: str
    template: Tensor  # (V, 3) metres
    faces: Tensor  # (F, 3) int64
    uvs: Tensor  # (F, 3, 2) texture coordinates of the faces' corners, v up
    shape_basis: Tensor  # (K, V, 3) metres for each unit of the axis
    expression_basis: Tensor  # (E, V, 3) metres for each unit of expression; 1 is full
    pose_basis: Tensor  # (Q, V, 3) metres for each unit of a pose feature; Q is 0 without pose correctives
    skin_weights: Tensor  # (V, J), rows sum to 1
    joint_regressor: Tensor  # (J, V), rows sum to 1
    tissue: Tensor  # (F,) int64 `Tissue`
    parts: Tensor  # (F,) int64 `Part` on the bare head
    shape_names: tuple[str, ...]  # "group/axis"; the axis is named after what its positive direction does
    expression_names: tuple[str, ...]
    joint_names: tuple[str, ...]
    from_blendshapes: Tensor  # (E, 52) units of expression for each unit of a blendshape score
    landmarks: LandmarkEmbedding

    @property
    def topology(self) -> str:
        """Digest of the faces and the number of vertices, on which a landmark embedding depends."""
        digest = hashlib.sha256(f"{self.template.shape[0]}:".encode())
        digest.update(self.faces.cpu().to(torch.int64).numpy().tobytes())
        return digest.hexdigest()[:16]

    def axes_of(self, attribute: Attribute) -> Tensor:
        """The identity axes that belong to an attribute, (K,) bool; none for hair and hat."""
        return self._axes_in((attribute.value,))

    @property
    def global_axes(self) -> Tensor:
        """The axes of the head's form, neck, age, weight and sex, (K,) bool: a swap takes them from the target."""
        return self._axes_in(GLOBAL_GROUPS)

    def _axes_in(self, groups: Sequence[str]) -> Tensor:
        inside = [name.partition("/")[0] in groups for name in self.shape_names]
        return torch.tensor(inside, dtype=torch.bool, device=self.template.device)

    def mix_shape(self, target: Tensor, source: Tensor, attribute: Attribute) -> Tensor:
        """A shape (..., K) with the attribute's own axes from the source and all others from the target."""
        return torch.where(self.axes_of(attribute), source, target)

    def vertices(
        self,
        shape: Tensor,  # (B | 1, K)
        expression: Tensor,  # (B, E)
        pose: Pose | None = None,
    ) -> Tensor:
        """The mesh in rest space, (B, V, 3) metres; with a pose, the rig's pose correctives are added."""
        still = self.template + torch.einsum("bk,kvc->bvc", shape, self.shape_basis)
        rest = still + torch.einsum("be,evc->bvc", expression, self.expression_basis)
        if pose is None or len(self.pose_basis) == 0:
            return rest
        return rest + torch.einsum("bq,qvc->bvc", pose_features(self, pose), self.pose_basis)

    def shaped(self, shape: Tensor) -> Tensor:
        """The vertices (V, 3) of a shape (K,) without expression, in metres."""
        return self.template + torch.einsum("k,kvc->vc", shape, self.shape_basis)

    def joints(self, shape: Tensor, expression: Tensor | None = None) -> Tensor:
        """The joints of shapes (B, K) in rest space, (B, J, 3) metres.

        With an expression (B, E) they move with it too, as FLAME's do a little. That matters only where jaw or eyes turn.
        """
        axes = torch.einsum("jv,kvc->kjc", self.joint_regressor, self.shape_basis)
        joints = self.joint_regressor @ self.template + torch.einsum("bk,kjc->bjc", shape, axes)
        if expression is None:
            return joints
        moving = torch.einsum("jv,evc->ejc", self.joint_regressor, self.expression_basis)
        return joints + torch.einsum("be,ejc->bjc", expression, moving)

    def expression_of(
        self,
        blendshapes: Tensor,  # (B, 52) scores 0–1, in the order of the open rig's expressions
    ) -> Tensor:
        """The expressions (B, E) that look most like the blendshapes; on the open rig they are the scores themselves."""
        return blendshapes @ self.from_blendshapes.T

    @property
    def expression_limits(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest plausible value of each expression, (E,) each: 0 and 1, or ±3 on numbered principal axes."""
        signed = torch.tensor([name.startswith(NUMBERED_PREFIX) for name in self.expression_names])
        return torch.where(signed, -3.0, 0.0), torch.where(signed, 3.0, 1.0)

    @property
    def pivot(self) -> int:
        """Number of the joint about which the head turns: the neck, or the head where a rig has none (it is FLAME's neck)."""
        return self.joint_names.index("neck" if "neck" in self.joint_names else "head")

    def to(self, device: torch.device | str) -> Rig:
        """The same on another device."""
        moved = {
            field.name: getattr(self, field.name).to(device)
            for field in fields(self)
            if isinstance(getattr(self, field.name), Tensor | LandmarkEmbedding)
        }
        return replace(self, **moved)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where head and torso are, and how jaw and eyes are turned on the head."""

    head: Tensor  # (B, 6) rotation vector, translation: rig → camera
    torso: Tensor  # (B, 6) rotation vector, translation: rig → camera
    jaw: Tensor  # (B, 3) rotation vector about the jaw's joint, in rig space
    eyes: Tensor  # (B, 6) rotation vectors of eye.L and eye.R about their joints, in rig space

    @classmethod
    def of(cls, performance: Performance, *, device: torch.device | str = "cpu") -> Self:
        """The pose of each frame of a performance."""
        arrays = {field.name: np.ascontiguousarray(getattr(performance, field.name)) for field in fields(cls)}
        # Copied, for alignment: a product's last bit depends on where its operands lie, and NumPy puts them anywhere.
        return cls(**{name: torch.tensor(array, device=device) for name, array in arrays.items()})

    @staticmethod
    def still(head: Tensor, torso: Tensor | None = None) -> Pose:
        """Jaw and eyes at rest on heads (B, 6); the torso follows the head rigidly when none is given."""
        return Pose(
            head=head,
            torso=head if torso is None else torso,
            jaw=head.new_zeros(head.shape[0], 3),
            eyes=head.new_zeros(head.shape[0], 6),
        )

    def rows(self, frames: Tensor | slice) -> Self:
        """Only some of the frames, by number or by mask."""
        return replace(self, **{field.name: getattr(self, field.name)[frames] for field in fields(self)})


def rodrigues(
    rotation: Tensor,  # (..., 3) rotation vectors, radians
) -> Tensor:
    """Rotation matrices (..., 3, 3) of rotation vectors by Rodrigues' formula.

    Near zero its series is used, which keeps the gradients exact there.
    """
    squared = (rotation * rotation).sum(-1)[..., None, None]
    small = squared < 1e-6
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / safe)
    x, y, z = rotation.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*rotation.shape, 3)
    return torch.eye(3, dtype=rotation.dtype, device=rotation.device) + sine * cross + cosine * (cross @ cross)


def rotation_vectors(
    rotation: Tensor,  # (..., 3, 3)
) -> Tensor:
    """The rotation vectors (..., 3) of rotation matrices, the inverse of `rodrigues`. No gradient flows through it."""
    flat = Rotation.from_matrix(rotation.detach().cpu().double().reshape(-1, 3, 3).numpy()).as_rotvec()
    return torch.as_tensor(flat, dtype=rotation.dtype, device=rotation.device).reshape(rotation.shape[:-1])


def rigid_transforms(
    pose: Tensor,  # (B, 6) rotation vector, translation
) -> Tensor:
    """Rig → camera transforms (B, 3, 4): the rotation, after y and z are flipped, and the translation."""
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=pose.dtype, device=pose.device)
    return torch.cat([rodrigues(pose[:, :3]) * flip, pose[:, 3:, None]], -1)


def _rotation_about(rotation: Tensor, pivot: Tensor) -> Tensor:
    """Rotations (B, 3) about pivots (B | 1, 3) in rest space, (B, 3, 4)."""
    turn = rodrigues(rotation)
    return torch.cat([turn, pivot[..., None] - turn @ pivot[..., None]], -1)


def _compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Outer ∘ inner of affine transforms (B, 3, 4)."""
    linear = outer[..., :3]
    return torch.cat([linear @ inner[..., :3], linear @ inner[..., 3:] + outer[..., 3:]], -1)


def bone_transforms(
    rig: Rig,
    pose: Pose,
    joints: Tensor,  # (1 | B, J, 3) `Rig.joints` of the shape
) -> Tensor:
    """The joints' rest → camera transforms, (B, J, 3, 4), in the order of `rig.joint_names`.

    The root moves with the torso and the head with the head. The neck's transform is the mean of the two. Jaw and eyes turn about
    their joints on the head.

    Raises:
        PegasusError: BAD_CONFIG where the rig has a joint whose motion is not known.
    """
    head, torso = rigid_transforms(pose.head), rigid_transforms(pose.torso)
    turns = {"jaw": pose.jaw, "eye.L": pose.eyes[:, :3], "eye.R": pose.eyes[:, 3:]}
    bones: list[Tensor] = []
    for index, name in enumerate(rig.joint_names):
        if name == "root":
            bones.append(torso)
        elif name == "neck":
            bones.append((head + torso) / 2)
        elif name == "head":
            bones.append(head)
        elif name in turns:
            bones.append(_compose(head, _rotation_about(turns[name], joints[:, index])))
        else:
            raise PegasusError(
                Reason.BAD_CONFIG, f"joint {name!r} of rig {rig.name!r} has no known motion", subject=name
            )
    return torch.stack(bones, 1)


def pose_features(rig: Rig, pose: Pose) -> Tensor:
    """R − I of each joint's rotation relative to its parent, row by row, (B, Q): the input of FLAME's pose correctives.

    The head's parent is the torso. A rig without pose correctives has no features, (B, 0).
    """
    if len(rig.pose_basis) == 0:
        return pose.head.new_zeros(pose.head.shape[0], 0)
    flip = torch.tensor([1.0, -1.0, -1.0], dtype=pose.head.dtype, device=pose.head.device)
    relative = rodrigues(pose.torso[:, :3]).mT @ rodrigues(pose.head[:, :3]) * flip * flip[:, None]
    turns = {
        "head": relative,
        "jaw": rodrigues(pose.jaw),
        "eye.L": rodrigues(pose.eyes[:, :3]),
        "eye.R": rodrigues(pose.eyes[:, 3:]),
    }
    rest = torch.eye(3, dtype=flip.dtype, device=flip.device)
    return torch.cat([(turns[name] - rest).flatten(1) for name in rig.joint_names if name in turns], 1)


def skin(
    points: Tensor,  # (N, 3) | (B, N, 3) rest space, metres
    weights: Tensor,  # (N, J)
    transforms: Tensor,  # (B, J, 3, 4)
) -> Tensor:
    """Linear blend skinning: points in camera space, (B, N, 3) metres."""
    return _blend(points, weights, transforms[..., :3]) + torch.einsum("nj,bjc->bnc", weights, transforms[..., 3])


def skin_normals(
    normals: Tensor,  # (N, 3) | (B, N, 3) rest space
    weights: Tensor,  # (N, J)
    transforms: Tensor,  # (B, J, 3, 4)
) -> Tensor:
    """Unit normals turned with the bones, (B, N, 3) in camera space."""
    return torch.nn.functional.normalize(_blend(normals, weights, transforms[..., :3]), dim=-1)


def _blend(vectors: Tensor, weights: Tensor, linear: Tensor) -> Tensor:
    """Σ_j w_j L_j v, (B, N, 3).

    One product with the matrices of all bones side by side; on a CPU it is faster than blending a 3 × 3 matrix for each point.
    """
    batch, bones = linear.shape[:2]
    moved = vectors.expand(batch, -1, -1) @ linear.flatten(1, 2).transpose(1, 2)  # (B, N, J·3)
    return (moved.reshape(batch, -1, bones, 3) * weights[:, :, None]).sum(2)


def interpolate_on_surface(
    values: Tensor,  # (V, ...)
    faces: Tensor,  # (F, 3)
    triangles: Tensor,  # (N,) face of each point
    barycentric: Tensor,  # (N, 3)
) -> Tensor:
    """Any quantity of the vertices, interpolated at points of the surface, (N, ...)."""
    corners = values[faces[triangles]]
    return (corners * barycentric.reshape(*barycentric.shape, *[1] * (values.ndim - 1))).sum(1)
