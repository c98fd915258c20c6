"""What a track's frames say about each point: how often it is seen, in which colour, as which part.

Legend: B frames, N points, S side, K points a pixel, P parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import PART_OF_LABEL, Part

FLESH = tuple(int(part) for part in (Part.SKIN, Part.EYES, Part.EYEBROWS, Part.NOSE, Part.MOUTH, Part.EARS, Part.NECK))

LEAST_FACING = 0.2
"""Cosine between a point's normal and the ray to the camera from which on the point faces it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Sums over frames, a point."""

    inside: Tensor  # (N,) share of the frames that hold the point's centre in which it falls on the person
    frames: Tensor  # (N,) frames that hold the point's centre
    weight: Tensor  # (N,) opacity with which the point was seen, summed over pixels
    colour: Tensor  # (N, 3) mean colour of the pixels in which it was seen
    parts: Tensor  # (N, P) weight seen in pixels of each part


def part_of_label(*, device: torch.device | str = "cpu") -> Tensor:
    """A look-up (19,) from `Label` to the index of `Part`; the background has P."""
    table = torch.full((19,), len(Part), dtype=torch.int64, device=device)
    for label, part in PART_OF_LABEL.items():
        table[label] = part
    return table


def gather_evidence(
    avatar: Avatar, points: CanonicalPoints, rig: Rig, frames: FrameSet, chosen: Tensor, *, per_pixel: int = 6
) -> Evidence:
    """Look at the chosen frames (indices into `frames`) and credit each pixel to the points that make it up.

    Args:
        avatar: whose motion codes drive the points.
        points: it, under its code.
        rig: that it is bound to.
        frames: to look at.
        chosen: which of them.
        per_pixel: nearest points credited.
    """
    count = len(avatar)
    device = avatar.offsets.device
    inside, seen, weight = (torch.zeros(count, device=device) for _ in range(3))
    colour = torch.zeros(count, 3, device=device)
    parts = torch.zeros(count, len(Part) + 1, device=device)
    table = part_of_label(device=device)
    size = frames.size
    with torch.no_grad():
        for index in chosen.tolist():
            one = torch.tensor([index], device=device)
            drive = frames.drive(avatar, one)
            drawn = render_points(points, rig, drive, size, per_pixel=per_pixel, full=False)
            spot = drawn.pixels[0].floor().long()
            held = ((spot >= 0) & (spot < size)).all(-1) & (drawn.radii[0] > 0)
            spot = spot.clamp(0, size - 1)
            seen += held
            inside += held & (frames.mattes[index][spot[:, 1], spot[:, 0]] > 0.4)
            share, owner = contributions(drawn.raster.indices[0], drawn.pixels[0], drawn.radii[0], points.opacity)
            flat = share.flatten()
            owner = owner.flatten()
            weight.index_add_(0, owner, flat)
            image = frames.images[index].reshape(-1, 1, 3).expand(-1, per_pixel, -1).reshape(-1, 3)
            colour.index_add_(0, owner, image * flat[:, None])
            label = table[frames.labels[index].long()].reshape(-1, 1).expand(-1, per_pixel).flatten()
            parts.view(-1).index_add_(0, owner * parts.shape[1] + label, flat)
    return Evidence(
        inside=inside / seen.clamp(min=1),
        frames=seen,
        weight=weight,
        colour=colour / weight.clamp(min=1e-6)[:, None],
        parts=parts[:, :-1],
    )


def flesh_share(
    avatar: Avatar, points: CanonicalPoints, rig: Rig, frames: FrameSet, chosen: Tensor
) -> tuple[Tensor, Tensor]:
    """In which share of the chosen frames that it faces each point falls on bare skin, (N,), and how far it ever turns to us.

    The latter is the largest cosine (N,) between its normal and the ray to the camera.
    """
    on_skin, faced = torch.zeros(2, len(avatar), device=avatar.offsets.device)
    turned = -torch.ones_like(faced)
    table = part_of_label(device=avatar.offsets.device)
    with torch.no_grad():
        for index in chosen.tolist():
            drive = frames.drive(avatar, torch.tensor([index], device=table.device))
            places, normals = points.pose(rig, drive)
            pixels, depth = drive.camera.project(places, frames.size)
            spot = pixels[0].floor().long()
            held = ((spot >= 0) & (spot < frames.size)).all(-1) & (depth[0] > 0)
            facing = -torch.nn.functional.cosine_similarity(places[0], normals[0], dim=-1)
            turned = torch.maximum(turned, facing)
            held &= facing > LEAST_FACING
            spot = spot.clamp(0, frames.size - 1)
            part = table[frames.labels[index][spot[:, 1], spot[:, 0]].long()]
            faced += held
            on_skin += held & torch.isin(part, torch.tensor(FLESH, device=part.device))
    return on_skin / faced.clamp(min=1), turned


def contributions(indices: Tensor, pixels: Tensor, radii: Tensor, opacity: Tensor) -> tuple[Tensor, Tensor]:
    """How much each of a pixel's points adds to it.

    Args:
        indices: (S, S, K) from the rasteriser, nearest first, −1 where there is none.
        pixels: (N, 2) centres of the points.
        radii: (N,) in pixels.
        opacity: (N,).

    Returns:
        shares (S², K), zero where there is no point, and owners (S², K) int64, 0 where there is none.
    """
    size = indices.shape[0]
    found = indices.reshape(size * size, -1)
    owner = found.clamp(min=0).long()
    centre = torch.arange(size, device=pixels.device) + 0.5
    grid = torch.stack(torch.meshgrid(centre, centre, indexing="xy"), dim=-1).view(-1, 1, 2)
    distance = (pixels[owner] - grid).square().sum(-1)
    alpha = opacity[owner] * (1 - distance / radii[owner].square().clamp(min=1e-12)).clamp(min=0) * (found >= 0)
    before = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], dim=1), dim=1)
    return alpha * before, owner


def propagate_parts(positions: Tensor, votes: Tensor, prior: Tensor, *, neighbours: int = 8) -> Tensor:
    """Part logits (N, P) from votes (N, P), with the labels of seen points carried to the hidden ones.

    A point that no frame ever shows takes the mean vote of its nearest seen points (so that hidden hair is hair); `prior` (N, P),
    probabilities from where the point began, decides between equals.
    """
    total = votes.sum(-1, keepdim=True)
    shares = votes / total.clamp(min=1e-6)
    seen = total[:, 0] > 0.5
    if bool(seen.any()) and not bool(seen.all()):
        known = seen.nonzero()[:, 0]
        near = nearest(positions[~seen], positions[known], neighbours)[1]
        shares[~seen] = shares[known[near]].mean(1)
    return (0.9 * shares + 0.1 * prior).clamp(min=1e-3).log()
