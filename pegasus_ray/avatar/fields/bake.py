"""Baking: a field avatar as explicit points, so that all that is done with those can be done with it.

Offsets, radii, opacity and parts carry over as they are. The shading network becomes spherical-harmonic light, and what the
fields add to the rig's motion and to its colours becomes each point's basis over the motion code, both by least squares.

Legend: F frames looked at, N points, Z motion components, H harmonics.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.fields.avatar import FieldAvatar, canonical_homes
from pegasus_ray.avatar.fields.points import FieldPoints
from pegasus_ray.avatar.fit.coded_frames import Clips
from pegasus_ray.avatar.points.avatar import Anchors, Avatar
from pegasus_ray.avatar.points.canonical import Drive, rest_points
from pegasus_ray.avatar.points.frames import FrameSet, Parameters
from pegasus_ray.avatar.points.shading import harmonics, shade
from pegasus_ray.rig.model import Rig, bone_transforms, skin_normals

FRAMES = 96
"""Frames over which the bases are fitted, at most."""

RIDGE = 1e-2
"""Of the least squares on the motion code, whose components have unit size."""


def bake_avatar(fields: FieldAvatar, avatar: Avatar, rig: Rig, frames: FrameSet, clips: Clips) -> Avatar:
    """The explicit avatar nearest to a field avatar over a performance.

    Args:
        fields: the networks.
        avatar: the points that they are evaluated at.
        rig: that they are bound to.
        frames: whose parameters the points are driven by.
        clips: which frames are the first video's, the person's own; only those are looked at.
    """
    anchors, homes = avatar.anchors(rig), canonical_homes(rig, avatar.triangles, avatar.barycentric)
    own = (clips.of == 0).nonzero()[:, 0]
    chosen = own[torch.linspace(0, len(own) - 1, min(FRAMES, len(own))).round().long()]
    with torch.no_grad():
        points = fields.canonical(avatar, homes, anchors, clips.codes[0])
    return bake_points(points, avatar, anchors, rig, frames.parameters.rows(chosen))


def bake_points(points: FieldPoints, avatar: Avatar, anchors: Anchors, rig: Rig, performance: Parameters) -> Avatar:
    """The explicit avatar nearest to the points of fields over a performance.

    Args:
        points: of fields, under one code.
        avatar: where they are bound; it gives radii, opacity, parts and motion codes.
        anchors: of the avatar, on the shape of `points`.
        rig: that it is bound to.
        performance: parameters that the points are driven by, a row a frame.
    """
    with torch.no_grad():
        still = replace(
            avatar,
            offsets=points.positions - anchors.positions,
            albedo=points.albedo,
            position_basis=torch.zeros_like(avatar.position_basis),
            colour_basis=torch.zeros_like(avatar.colour_basis),
        )
        drive = performance.drive(avatar)
        plain = still.canonical(anchors)
        normals = _rig_normals(plain.normals, plain.skin_weights, rig, drive, anchors.joints)
        colours = _colours(points, rig, drive)
        light = _fit_light(normals, colours, points.albedo)
        moved = points.rest(rig, drive) - rest_points(plain, rig, drive)
        recoloured = colours - shade(normals, light) * points.albedo
        solved = _on_motion(drive.motion, torch.cat([moved, recoloured], dim=-1))
        mean, basis = solved[0], solved[1:]
    return replace(
        still,
        offsets=still.offsets + mean[:, :3],
        albedo=(still.albedo + mean[:, 3:]).clamp(0, 1),
        position_basis=basis[..., :3].contiguous(),
        colour_basis=basis[..., 3:].contiguous(),
        lights=light[None],
    )


def _rig_normals(normals: Tensor, weights: Tensor, rig: Rig, drive: Drive, joints: Tensor) -> Tensor:
    """Normals as an explicit avatar has them: the rig's, turned with the bones, (F, N, 3)."""
    return skin_normals(normals, weights, bone_transforms(rig, drive.pose, joints[None]))


def _colours(points: FieldPoints, rig: Rig, drive: Drive) -> Tensor:
    """The fields' colours, (F, N, 3)."""
    _, normals = points.pose(rig, drive)
    return points.colours(normals, drive.motion)


def _fit_light(normals: Tensor, colours: Tensor, albedo: Tensor) -> Tensor:
    """Light (H, 3) under which albedo (N, 3) on normals (F, N, 3) is nearest to colours (F, N, 3)."""
    terms = harmonics(normals).flatten(0, 1)
    light = []
    for channel in range(3):
        weight = albedo[:, channel].expand(normals.shape[:2]).flatten()
        rows = terms * weight[:, None]
        gram = rows.T @ rows + 1e-4 * len(rows) * torch.eye(terms.shape[1], device=terms.device)
        light.append(torch.linalg.solve(gram, rows.T @ colours[..., channel].flatten()))
    return torch.stack(light, dim=-1)


def _on_motion(motion: Tensor, values: Tensor) -> Tensor:
    """Mean and basis (1 + Z, N, C) of values (F, N, C) over motion codes (F, Z)."""
    rows = torch.cat([torch.ones_like(motion[:, :1]), motion], dim=1)
    ridge = RIDGE * len(rows) * torch.eye(rows.shape[1], device=rows.device)
    ridge[0, 0] = 0
    solved = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ values.flatten(1))
    unfolded: Tensor = solved.view(-1, *values.shape[1:])
    return unfolded
