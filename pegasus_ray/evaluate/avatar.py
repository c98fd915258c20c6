"""`evaluate avatar`: how near an avatar is to the frames of its video that its fit has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.evaluate.regions import FACE_PARTS
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.render.metrics import psnr, ssim
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.evenly import evenly

FACE = tuple(int(label) for name in ("skin", "brows", "eyes", "nose", "mouth") for label in FACE_PARTS[name])
"""Labels of the pixels that count as face."""
MATTE_MARGIN = 0.02
"""Share of the side by which the matte is dilated before the pixels inside it are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AvatarScore:
    """Means over the held-out frames."""

    psnr: float  # dB, inside the dilated matte, on white
    ssim: float
    psnr_face: float  # dB, on face pixels alone
    frames: int  # how many were compared


def evaluate_avatar(
    track: Track, avatar: Avatar, *, points: CanonicalPoints | None = None, per_pixel: int = 24
) -> tuple[AvatarScore, Bytes]:
    """Compare an avatar with the last tenth of its video's frames, which its fit has not seen: see `score_frames`."""
    return score_frames(track.select(track.held_out()[1]), avatar, points=points, per_pixel=per_pixel)


def score_frames(
    held: Track,
    avatar: Avatar,
    *,
    points: CanonicalPoints | None = None,
    per_pixel: int = 24,
    shown: int = 6,
) -> tuple[AvatarScore, Bytes]:
    """Render frames with their tracked parameters, which are not refined, and compare.

    Args:
        held: frames that the fit has not seen.
        avatar: its motion basis drives the points.
        points: the canonical points that are drawn; without them, those of the explicit avatar.
        per_pixel: nearest points blended in a pixel.
        shown: how many frames the returned picture shows, at most.

    Returns:
        the score, and a picture to look at with the truth above the render, (2·S, shown·S, 3).
    """
    size = held.size
    frames, rig = FrameSet.of(held, size), load_rig(held.rig)
    points = avatar.canonical(avatar.anchors(rig)) if points is None else points
    scores, pairs = [], []
    kernel = np.ones((2 * round(MATTE_MARGIN * size) + 1,) * 2, np.uint8)
    for index in range(len(held)):
        with torch.no_grad():
            drive = frames.drive(avatar, torch.tensor([index]))
            drawn = render_points(points, rig, drive, size, per_pixel=per_pixel).image[0]
        image, truth = drawn.clamp(0, 1), frames.images[index]
        inside = torch.from_numpy(cv2.dilate((held.mattes[index] > 127).astype(np.uint8), kernel) > 0)
        face = torch.from_numpy(np.isin(held.parts[index], FACE))
        face = face if bool(face.any()) else inside
        figures = (psnr(image, truth, inside), _ssim(image, truth, inside), psnr(image, truth, face))
        scores.append([float(figure) for figure in figures])
        pairs.append(torch.cat([truth, image]).numpy())
    sheet = np.concatenate([pairs[index] for index in evenly(len(held), shown)], axis=1)
    sheet = (sheet * 255).round().astype(np.uint8)
    means = np.mean(scores, axis=0)
    score = AvatarScore(psnr=float(means[0]), ssim=float(means[1]), psnr_face=float(means[2]), frames=len(held))
    return score, sheet


def _ssim(image: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean structural similarity of (S, S, 3) pictures inside a mask (S, S)."""
    return ssim(image.permute(2, 0, 1)[None], truth.permute(2, 0, 1)[None], mask[None])
