"""An avatar's points under one code, in the rig's rest space: ready to be posed, shaded and splatted.

Everything in `CanonicalPoints` depends on the code and the shape alone, never on the frame: it is evaluated once and shared
by all frames. A frame then costs skinning, shading and one rasterisation.

Legend: B frames, N points, J joints, E expressions, Q pose features, Z motion components, P parts, S side in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.avatar.points.shading import shade
from pegasus_ray.render.camera import Camera
from pegasus_ray.render.rasterize import Discs, Raster, rasterize
from pegasus_ray.rig.model import Pose, Rig, bone_transforms, pose_features, skin, skin_normals

NEAR_METRES = 0.05
"""Points nearer to the camera than this are not drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanonicalPoints:
    """The points of one avatar under one code and one shape (the frame-free part of paper Eqs. 5–10)."""

    joints: Tensor  # (J, 3) metres, rest space
    positions: Tensor  # (N, 3) metres, rest space
    normals: Tensor  # (N, 3) unit length, rest space
    radii: Tensor  # (N,) metres
    opacity: Tensor  # (N,) 0–1
    albedo: Tensor  # (N, 3)
    part_logits: Tensor  # (N, P) over `Part`
    expression_basis: Tensor  # (E, N, 3) metres per unit of expression
    pose_basis: Tensor  # (Q, N, 3) metres per unit of a pose feature; Q is 0 on a rig without pose correctives
    skin_weights: Tensor  # (N, J)
    position_basis: Tensor  # (Z, N, 3) metres per unit of the motion code
    colour_basis: Tensor  # (Z, N, 3) colour per unit of the motion code
    light: Tensor  # (9, 3) or (N, 9, 3): spherical-harmonic light, one column per colour channel

    def __len__(self) -> int:
        return int(self.positions.shape[0])

    def pose(self, rig: Rig, drive: Drive) -> tuple[Tensor, Tensor]:
        """Positions and unit normals (B, N, 3) in camera space: see `pose_points`."""
        return pose_points(self, rig, drive)

    def colours(self, normals: Tensor, motion: Tensor) -> Tensor:
        """Colours (B, N, 3) of points whose normals in camera space are (B, N, 3): see `colour_points`."""
        return colour_points(self, normals, motion)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drive:
    """What changes from frame to frame."""

    expression: Tensor  # (B, E)
    pose: Pose
    motion: Tensor  # motion codes, (B, Z) one per frame or (B, Z, N) one per point: see `Avatar.motion`
    camera: Camera

    def __len__(self) -> int:
        return int(self.expression.shape[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """What is composited besides colours and opacity. Each layer costs time, so a caller asks for those that it needs."""

    parts: bool = False  # the share of each part in a pixel
    normals: bool = False  # in camera space
    extra: Tensor | None = None  # (N, C) other features of the points, such as their membership of a part
    only_part: int | None = None  # instead of `extra`: the points' colours times their share of this part


COLOURS = Layers()
"""Colours and opacity alone."""
EVERYTHING = Layers(parts=True, normals=True)
"""Parts and normals too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """A batch of rendered frames."""

    image: Tensor  # (B, S, S, 3) over white; may leave 0–1 while an avatar is being fitted
    alpha: Tensor  # (B, S, S)
    parts: Tensor  # (B, S, S, P) share of each part in the pixel, summing to alpha; P is 0 where it was not asked for
    normals: Tensor  # (B, S, S, 3) camera space, weighted by alpha; no channels where they were not asked for
    extra: Tensor  # (B, S, S, C) whatever else the caller had composited
    raster: Raster
    pixels: Tensor  # (B, N, 2) where the points' centres fall
    radii: Tensor  # (B, N) pixels


def rest_points(points: CanonicalPoints, rig: Rig, drive: Drive) -> Tensor:
    """The points moved by their bases, before skinning (paper Eq. 8): (B, N, 3) in metres, rest space."""
    moved = drive.expression @ points.expression_basis.flatten(1) + _combine(drive.motion, points.position_basis)
    if len(points.pose_basis):
        moved = moved + pose_features(rig, drive.pose) @ points.pose_basis.flatten(1)
    return points.positions + moved.view(-1, len(points), 3)


def pose_points(points: CanonicalPoints, rig: Rig, drive: Drive) -> tuple[Tensor, Tensor]:
    """Positions (B, N, 3) in metres and unit normals (B, N, 3), both in camera space (paper Eqs. 1–2).

    Normals carry no gradient: the pose is refined on where points fall, not on how they are lit.
    """
    transforms = bone_transforms(rig, drive.pose, points.joints[None])
    with torch.no_grad():
        normals = skin_normals(points.normals, points.skin_weights, transforms)
    return skin(rest_points(points, rig, drive), points.skin_weights, transforms), normals


def signals(rig: Rig, drive: Drive) -> Tensor:
    """The coefficients of all motion bases, (B, Q + E + Z): pose features, expressions, motion codes (one per frame)."""
    return torch.cat([pose_features(rig, drive.pose), drive.expression, drive.motion], dim=-1)


def colour_points(points: CanonicalPoints, normals: Tensor, motion: Tensor) -> Tensor:
    """Colours (B, N, 3) of points whose normals in camera space are (B, N, 3): shading · albedo + colour basis · motion code."""
    moved = _combine(motion, points.colour_basis)
    return shade(normals, points.light) * points.albedo + moved.view(-1, len(points), 3)


def _combine(motion: Tensor, basis: Tensor) -> Tensor:
    """Σ_z motion_z basis_z, flattened to (B, N·3); `motion` is (B, Z), or (B, Z, N) where points have different codes."""
    if motion.dim() == 2:
        return motion @ basis.flatten(1)
    return torch.einsum("bzn,znc->bnc", motion, basis).flatten(1)


def render_points(
    points: CanonicalPoints,
    rig: Rig,
    drive: Drive,
    size: int,
    *,
    layers: Layers = COLOURS,
    per_pixel: int = 16,
    backend: str = "warp",
) -> Rendering:
    """Draw a batch of frames.

    Args:
        points: the avatar under its code.
        rig: the rig that it is bound to.
        drive: expression, pose and camera of each frame.
        size: side of the picture in pixels.
        layers: what is composited besides the colours; what is not asked for comes back with no channels.
        per_pixel: how many of the nearest points are blended in a pixel.
        backend: the rasteriser's name.
    """
    positions, normals = points.pose(rig, drive)
    pixels, depth = drive.camera.project(positions, size)
    radii = torch.where(depth > NEAR_METRES, drive.camera.radius(points.radii, depth, size), 0.0)
    colours = points.colours(normals, drive.motion)
    none = colours[..., :0]
    shares, extra = none, none
    if layers.parts or layers.only_part is not None:
        shares = torch.softmax(points.part_logits, dim=-1).expand(len(drive), -1, -1)
    if layers.only_part is not None:
        extra = colours * shares[..., layers.only_part : layers.only_part + 1]
    elif layers.extra is not None:
        extra = layers.extra.expand(len(drive), -1, -1)
    stack = [colours, shares if layers.parts else none, normals if layers.normals else none, extra]
    features = torch.cat(stack, dim=-1)
    discs = Discs(pixels=pixels, depth=depth, radii=radii, opacity=points.opacity)
    raster = rasterize(discs, features, size=size, per_pixel=per_pixel, backend=backend)
    image, parts, facing, composited = torch.split(raster.features, [layer.shape[-1] for layer in stack], dim=-1)
    return Rendering(
        image=image + (1 - raster.alpha)[..., None],
        alpha=raster.alpha,
        parts=parts,
        normals=facing,
        extra=composited,
        raster=raster,
        pixels=pixels,
        radii=radii,
    )
