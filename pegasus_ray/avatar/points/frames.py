"""A track's frames as tensors at one resolution, and the rig parameters that drive them.

Legend: T frames, B a batch of them, S side, E expressions, Z motion components.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import Drive
from pegasus_ray.library.performance import DRIVING
from pegasus_ray.library.track import Track
from pegasus_ray.render.camera import Camera
from pegasus_ray.rig.model import Pose


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters(Pose):
    """A `Performance` as tensors, one row per frame. While tracking is refined, they carry gradients to its corrections."""

    expression: Tensor  # (T, E)
    camera: Tensor  # (T, 3) focal length, principal point x and y, all in sides of the frame

    def __len__(self) -> int:
        return int(self.expression.shape[0])

    @staticmethod
    def join(clips: Sequence[Parameters]) -> Parameters:
        """The rows of several clips, one clip after the other."""
        return Parameters(**{name: torch.cat([getattr(clip, name) for clip in clips]) for name in DRIVING})

    def drive(self, avatar: Avatar, *, motion_noise: float = 0.0, generator: torch.Generator | None = None) -> Drive:
        """Drive `avatar` with these parameters, one frame per row.

        Args:
            avatar: whose motion codes encode expression, head and torso. No gradients flow through them.
            motion_noise: deviation of the noise added to the motion codes, so that their bases do not overfit single frames.
            generator: the source of that noise.
        """
        motion = avatar.motion(self.expression.detach(), self.head.detach(), self.torso.detach())
        if motion_noise > 0:
            noise = torch.randn(motion.shape[:2], generator=generator).to(motion)
            motion = motion + motion_noise * noise.view(*motion.shape[:2], *[1] * (motion.dim() - 2))
        return Drive(
            expression=self.expression,
            pose=self,
            motion=motion,
            camera=Camera.of(self.camera),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSet:
    """A clip at one resolution, on white."""

    images: Tensor  # (T, S, S, 3) 0–1
    mattes: Tensor  # (T, S, S) 0–1
    labels: Tensor  # (T, S, S) uint8 `Label`
    parameters: Parameters

    @staticmethod
    def of(track: Track, size: int, *, device: torch.device | str = "cpu") -> FrameSet:
        """The track resampled to `size` (area mean for colours, nearest for labels)."""
        images = _resize(track.on_white(), size, cv2.INTER_AREA)
        mattes = _resize(track.mattes, size, cv2.INTER_AREA)
        labels = _resize(track.parts, size, cv2.INTER_NEAREST)
        return FrameSet(
            images=torch.from_numpy(images).to(device).float() / 255,
            mattes=torch.from_numpy(mattes).to(device).float() / 255,
            labels=torch.from_numpy(labels).to(device),
            parameters=Parameters.of(track, device=device),
        )

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return int(self.images.shape[1])

    def drive(self, avatar: Avatar, index: Tensor) -> Drive:
        """The tracked parameters of frames `index` (B,)."""
        return self.parameters.rows(index).drive(avatar)


def _resize(frames: np.ndarray, size: int, interpolation: int) -> np.ndarray:
    """Frames (T, S, S, ...) uint8 to another side."""
    if frames.shape[1] == size:
        return np.ascontiguousarray(frames)
    return np.stack([cv2.resize(frame, (size, size), interpolation=interpolation) for frame in frames])
