"""What a track's frames show of each point: how often it is seen, in which colour, as which part.

Legend: N points, S side, K points per pixel, P parts.
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

BARE_SKIN_PARTS = tuple(
    int(part) for part in (Part.SKIN, Part.EYES, Part.EYEBROWS, Part.NOSE, Part.MOUTH, Part.EARS, Part.NECK)
)
"""The parts where a pixel shows that neither hair nor cloth lies over the rig."""

LABEL_COUNT = 19
"""Number of values of `Label`."""

MIN_FACING_COSINE = 0.2
"""A point faces the camera if the cosine between its normal and the ray to the camera is above this."""

MIN_MATTE = 0.4
"""A pixel shows the person if its matte is above this."""

MIN_VOTES = 0.5
"""A point with more votes than this, in pixels, gets its part from them, and else from its neighbours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Sums over frames, for each point."""

    inside: Tensor  # (N,) of the frames that hold the point's centre, the share in which it falls on the person
    frames: Tensor  # (N,) number of frames that hold the point's centre
    weight: Tensor  # (N,) opacity with which the point was seen, summed over pixels
    colour: Tensor  # (N, 3) mean colour of the pixels in which it was seen
    parts: Tensor  # (N, P) weight seen in pixels of each part


def gather_evidence(
    avatar: Avatar, points: CanonicalPoints, rig: Rig, frames: FrameSet, chosen: Tensor, *, per_pixel: int = 6
) -> Evidence:
    """Draw the points over the chosen frames, and credit each pixel to the points that make it up.

    Args:
        avatar: whose motion codes drive the points.
        points: the avatar's, under its code.
        rig: the rig that it is bound to.
        frames: the frames to look at.
        chosen: numbers of those that are looked at.
        per_pixel: how many of the nearest points are credited with a pixel.
    """
    count = len(avatar)
    device = avatar.offsets.device
    inside, seen, weight = (torch.zeros(count, device=device) for _ in range(3))
    colour = torch.zeros(count, 3, device=device)
    parts = torch.zeros(count, len(Part) + 1, device=device)
    table = _part_of_label(device=device)
    size = frames.size
    with torch.no_grad():
        for index in chosen.tolist():
            one = torch.tensor([index], device=device)
            drive = frames.drive(avatar, one)
            drawn = render_points(points, rig, drive, size, per_pixel=per_pixel)
            pixel = drawn.pixels[0].floor().long()
            held = ((pixel >= 0) & (pixel < size)).all(-1) & (drawn.radii[0] > 0)
            pixel = pixel.clamp(0, size - 1)
            seen += held
            inside += held & (frames.mattes[index][pixel[:, 1], pixel[:, 0]] > MIN_MATTE)
            share, owner = pixel_contributions(drawn.raster.indices[0], drawn.pixels[0], drawn.radii[0], points.opacity)
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


def bare_skin_share(
    avatar: Avatar, points: CanonicalPoints, rig: Rig, frames: FrameSet, chosen: Tensor
) -> tuple[Tensor, Tensor]:
    """How often each point falls on bare skin, and how far it ever turns towards the camera.

    Args:
        avatar: whose motion codes drive the points.
        points: the avatar's, under its code.
        rig: the rig that it is bound to.
        frames: the frames to look at.
        chosen: numbers of those that are looked at.

    Returns:
        of the frames in which a point faces the camera, the share in which it falls on bare skin, (N,); and the largest cosine
        between its normal and the ray to the camera, (N,).
    """
    on_skin, faced = torch.zeros(2, len(avatar), device=avatar.offsets.device)
    largest = -torch.ones_like(faced)
    table = _part_of_label(device=avatar.offsets.device)
    with torch.no_grad():
        for index in chosen.tolist():
            drive = frames.drive(avatar, torch.tensor([index], device=table.device))
            places, normals = points.pose(rig, drive)
            pixels, depth = drive.camera.project(places, frames.size)
            pixel = pixels[0].floor().long()
            held = ((pixel >= 0) & (pixel < frames.size)).all(-1) & (depth[0] > 0)
            facing = -torch.nn.functional.cosine_similarity(places[0], normals[0], dim=-1)
            largest = torch.maximum(largest, facing)
            held &= facing > MIN_FACING_COSINE
            pixel = pixel.clamp(0, frames.size - 1)
            part = table[frames.labels[index][pixel[:, 1], pixel[:, 0]].long()]
            faced += held
            on_skin += held & torch.isin(part, torch.tensor(BARE_SKIN_PARTS, device=part.device))
    return on_skin / faced.clamp(min=1), largest


def _part_of_label(*, device: torch.device | str = "cpu") -> Tensor:
    """A look-up (19,) from `Label` to the index of `Part`; the background has P."""
    table = torch.full((LABEL_COUNT,), len(Part), dtype=torch.int64, device=device)
    for label, part in PART_OF_LABEL.items():
        table[label] = part
    return table


def pixel_contributions(indices: Tensor, pixels: Tensor, radii: Tensor, opacity: Tensor) -> tuple[Tensor, Tensor]:
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
    transmitted = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha[:, :-1]], dim=1), dim=1)
    return alpha * transmitted, owner


def propagate_parts(positions: Tensor, votes: Tensor, prior: Tensor, *, neighbours: int = 8) -> Tensor:
    """Part logits (N, P) from the votes of pixels, with the labels of seen points carried over to hidden ones.

    A point that no frame shows takes the mean vote of its nearest seen points, so that hidden hair is hair.

    Args:
        positions: (N, 3) metres.
        votes: (N, P) weight seen in pixels of each part.
        prior: (N, P) probabilities by the region in which the point began; they count a tenth, which decides between equal votes.
        neighbours: how many seen points give a hidden one its part.
    """
    total = votes.sum(-1, keepdim=True)
    shares = votes / total.clamp(min=1e-6)
    seen = total[:, 0] > MIN_VOTES
    if bool(seen.any()) and not bool(seen.all()):
        known = seen.nonzero()[:, 0]
        near = nearest(positions[~seen], positions[known], neighbours)[1]
        shares[~seen] = shares[known[near]].mean(1)
    return (0.9 * shares + 0.1 * prior).clamp(min=1e-3).log()
