"""render: an avatar driven by a track's parameters, seen from where the camera was or from elsewhere.

Legend: T frames, S side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, render_points
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig, rodrigues, rotation_vectors

PIVOT_DEPTH_METRES = 0.09
"""How far behind the eyes the vertical axis lies about which a turntable turns the person."""


def render_clip(
    avatar: Avatar,
    track: Track,
    *,
    frames: Sequence[int] | None = None,
    size: int | None = None,
    turns: Sequence[float] = (),
    per_pixel: int = 24,
    points: CanonicalPoints | None = None,
) -> Iterator[Bytes]:
    """The avatar driven by a track, frame by frame, (S, S, 3) RGB on white.

    Args:
        avatar: whom to draw.
        track: whose expression, pose and camera to take.
        frames: which of its frames; by default all.
        size: side in pixels; by default the track's.
        turns: for each frame the degrees by which to turn the person about the vertical axis; by default none.
        per_pixel: nearest points blended in a pixel.
        points: canonical points to draw instead of the avatar's own, such as those of its fields.
    """
    rig = load_rig(avatar.rig)
    points = avatar.canonical(avatar.anchors(rig)) if points is None else points
    chosen = track if frames is None else track.select(list(frames))
    for index in range(len(chosen)):
        rows = Parameters.of(chosen).rows(torch.tensor([index]))
        if turns:
            rows = turn(rows, math.radians(turns[index % len(turns)]))
        yield draw_frame(avatar, points, rig, rows, size or track.size, per_pixel)


def draw_frame(
    avatar: Avatar, points: CanonicalPoints, rig: Rig, row: Parameters, size: int, per_pixel: int = 24
) -> Bytes:
    """An avatar's evaluated points in one frame's expression, pose and camera, (S, S, 3) RGB on white."""
    with torch.no_grad():
        image = render_points(points, rig, row.drive(avatar), size, per_pixel=per_pixel).image[0]
    picture: Bytes = (image.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    return picture


def turntable(count: int, *, reach: float = 45.0) -> list[float]:
    """For `render_clip`, the turns of `count` frames that swing by `reach` degrees to one side, to the other and back."""
    return [reach * math.sin(2 * math.pi * index / max(count, 1)) for index in range(count)]


def turn(rows: Parameters, angle: float) -> Parameters:
    """The same frames seen from `angle` radians aside: head and torso turned about the vertical through the head's axis."""
    spin = rodrigues(torch.tensor([0.0, angle, 0.0]))
    facing = rodrigues(rows.head[:, :3]) @ torch.tensor([0.0, 0.0, PIVOT_DEPTH_METRES])
    pivot = rows.head[:, 3:] + facing
    return replace(rows, head=_turned(rows.head, spin, pivot), torso=_turned(rows.torso, spin, pivot))


def _turned(pose: Tensor, spin: Tensor, pivot: Tensor) -> Tensor:
    """Poses (B, 6) turned by `spin` (3, 3) about `pivot` (B, 3)."""
    rotation = spin @ rodrigues(pose[:, :3])
    return torch.cat([rotation_vectors(rotation), (pose[:, 3:] - pivot) @ spin.T + pivot], dim=1)
