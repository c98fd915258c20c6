"""Writes an avatar's points as a PLY file, which other tools can read.

Legend: N points.
"""

from __future__ import annotations

import numpy as np
import torch

from pegasus_ray.avatar.points.canonical import CanonicalPoints, Drive
from pegasus_ray.render.camera import Camera
from pegasus_ray.rig.model import Pose, Rig

PROPERTIES = (
    *((name, "<f4", "float") for name in ("x", "y", "z", "nx", "ny", "nz")),
    *((name, "u1", "uchar") for name in ("red", "green", "blue")),
    *((name, "<f4", "float") for name in ("radius", "opacity")),
)
"""Properties of a vertex: name, type in NumPy, type in PLY."""


def points_as_ply(points: CanonicalPoints, rig: Rig) -> bytes:
    """Points at rest, facing the camera, as a binary little-endian PLY file.

    Positions and radii are in metres in the rig's space (y up, face towards +z); the colours are shaded from the front.

    Args:
        points: those of an avatar, evaluated.
        rig: the rig to which the avatar is bound.
    """
    with torch.no_grad():
        drive = _at_rest(points, rig)
        positions, normals = points.pose(rig, drive)
        colours = points.colours(normals, drive.motion)[0].clamp(0, 1)
    upright = torch.tensor([1.0, -1.0, -1.0])  # from camera space to the rig's space
    rgb = (colours * 255).round().numpy()
    xyz, directions = (positions[0] * upright).numpy(), (normals[0] * upright).numpy()
    columns = [*xyz.T, *directions.T, *rgb.T, points.radii.detach().numpy(), points.opacity.detach().numpy()]
    rows = np.empty(len(points), dtype=[(name, kind) for name, kind, _ in PROPERTIES])
    for (name, _, _), column in zip(PROPERTIES, columns, strict=True):
        rows[name] = column
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}"]
    header += [f"property {kind} {name}" for name, _, kind in PROPERTIES]
    return "\n".join([*header, "end_header", ""]).encode() + rows.tobytes()


def _at_rest(points: CanonicalPoints, rig: Rig) -> Drive:
    """One frame without expression, in which the head faces the camera."""
    still = Pose.still(torch.zeros(1, 6))
    return Drive(
        expression=torch.zeros(1, len(rig.expression_names)),
        pose=still,
        motion=torch.zeros(1, len(points.position_basis)),
        camera=Camera.of(torch.tensor([[2.0, 0.5, 0.5]])),
    )
