"""Baking: a field avatar is turned into explicit points, so that recombining, files and drawing need one kind of avatar only.

Offsets, radii, opacity and parts carry over as they are. The shading network becomes spherical-harmonic light, and what the
networks add to the rig's motion and to the colours becomes each point's basis over the motion code. Both are least-squares fits
over frames of a performance.

Legend: F frames, N points, Z motion components, H harmonics, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.fields.avatar import FieldAvatar, canonical_roots
from pegasus_ray.avatar.fields.points import FieldPoints
from pegasus_ray.avatar.points.avatar import Anchors, Avatar
from pegasus_ray.avatar.points.canonical import Drive, rest_points
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.avatar.points.shading import harmonics, shade
from pegasus_ray.rig.model import Rig, bone_transforms, skin_normals
from pegasus_ray.schemas.evenly import evenly

MAX_FITTED_FRAMES = 96
"""Number of frames over which light and bases are fitted, at most."""

MOTION_RIDGE = 1e-2
"""Ridge per frame of the least squares on the motion code, whose components have unit size."""

LIGHT_RIDGE = 1e-4
"""Ridge per equation of the least squares for the light."""


def bake_avatar(
    fields: FieldAvatar, avatar: Avatar, rig: Rig, performance: Parameters, code: Mapping[str, int]
) -> Avatar:
    """The explicit avatar nearest to a field avatar over a performance.

    Args:
        fields: the networks.
        avatar: the points at which they are evaluated.
        rig: the rig that the points are bound to.
        performance: parameters of the person's own frames; at most `MAX_FITTED_FRAMES` are used, evenly spaced.
        code: the code of these frames, as a choice per block.
    """
    anchors, roots = avatar.anchors(rig), canonical_roots(rig, avatar.triangles, avatar.barycentric)
    chosen = torch.from_numpy(evenly(len(performance), MAX_FITTED_FRAMES))
    with torch.no_grad():
        points = fields.canonical(avatar, roots, anchors, code)
    return bake_points(points, avatar, anchors, rig, performance.rows(chosen))


def bake_points(points: FieldPoints, avatar: Avatar, anchors: Anchors, rig: Rig, performance: Parameters) -> Avatar:
    """The explicit avatar nearest to the points of a field avatar over a performance.

    Args:
        points: the points under one code.
        avatar: the points at which the networks were evaluated; gives bindings, radii, opacity, parts and motion codes.
        anchors: of the avatar, on the shape of `points`.
        rig: the rig that the points are bound to.
        performance: parameters of the F frames that are fitted.
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
        colours = _field_colours(points, rig, drive)
        light = _fit_light(normals, colours, points.albedo)
        moved = points.rest(rig, drive) - rest_points(plain, rig, drive)
        recoloured = colours - shade(normals, light) * points.albedo
        solved = _fit_motion_basis(drive.motion, torch.cat([moved, recoloured], dim=-1))
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
    """Normals (F, N, 3) as an explicit avatar has them: the rig's, turned with the bones."""
    return skin_normals(normals, weights, bone_transforms(rig, drive.pose, joints[None]))


def _field_colours(points: FieldPoints, rig: Rig, drive: Drive) -> Tensor:
    """The networks' colours, (F, N, 3)."""
    _, normals = points.pose(rig, drive)
    return points.colours(normals, drive.motion)


def _fit_light(normals: Tensor, colours: Tensor, albedo: Tensor) -> Tensor:
    """Light (H, 3) under which albedo (N, 3) on normals (F, N, 3) is nearest to colours (F, N, 3)."""
    terms = harmonics(normals).flatten(0, 1)
    light = []
    for channel in range(3):
        weight = albedo[:, channel].expand(normals.shape[:2]).flatten()
        rows = terms * weight[:, None]
        gram = rows.T @ rows + LIGHT_RIDGE * len(rows) * torch.eye(terms.shape[1], device=terms.device)
        light.append(torch.linalg.solve(gram, rows.T @ colours[..., channel].flatten()))
    return torch.stack(light, dim=-1)


def _fit_motion_basis(motion: Tensor, values: Tensor) -> Tensor:
    """Mean and basis (1 + Z, N, C) of values (F, N, C) over motion codes (F, Z)."""
    rows = torch.cat([torch.ones_like(motion[:, :1]), motion], dim=1)
    ridge = MOTION_RIDGE * len(rows) * torch.eye(rows.shape[1], device=rows.device)
    ridge[0, 0] = 0
    solved = torch.linalg.solve(rows.T @ rows + ridge, rows.T @ values.flatten(1))
    unfolded: Tensor = solved.view(-1, *values.shape[1:])
    return unfolded
