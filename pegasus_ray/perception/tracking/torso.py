"""The torso's own motion: roll, translation and depth, from registering the clothes of all frames to those of one frame.

A torso does not follow the head that turns above it. Its clothes are aligned to those of a reference frame by a similarity
transform (inverse compositional Lucas–Kanade, coarse to fine, robust, all frames at once). In camera space the similarity's
roll is a rotation about the viewing axis, and its scale is depth.

Positions in the picture are complex numbers, relative to the picture's middle, x right (real), y down (imaginary): a
similarity is z → αz + τ.

Legend: T frames, S side of the frames, W side of the pictures worked on, N pixels registered, C = 4 channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pegasus_ray.perception.footage.segmented import SegmentedFrames
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.perception.tracking.fit_rig import RigFit
from pegasus_ray.rig.model import Rig, rigid_transforms, rodrigues, rotation_vectors
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.parts import Label

SILHOUETTE_WEIGHT: Final = 96.0  # value of an opaque pixel in the silhouette channel, beside colours of 0–255
FRAMES_AT_ONCE: Final = 64  # registered together
MAX_MEDIAN_FRAMES: Final = 48  # frames of which the median picture is taken
LOG_SCALE_TOLERANCE: Final = 0.1  # off the logarithm of the likely scale
ROLL_TOLERANCE: Final = 0.1  # radians
SHIFT_TOLERANCE: Final = 0.1  # sides of the picture
"""Priors of the registration: to be off by a tolerance costs as much as a difference of √`robust` (3.5 of 255) in each pixel."""
MIN_SCALE: Final = 0.6  # a registration with a scale outside of these bounds has failed
MAX_SCALE: Final = 1.6
POSE_SCALES: Final = (*[0.1] * 3, *[0.02] * 3)  # radians and metres
CLOTH_SCALES: Final = (0.02, 0.02, 0.02)  # share of the picture that is cloth; its middle across and down, sides
"""Units in which frames are compared with the median frame, so that poses and clothes count alike."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class TorsoConfig:
    """How the torso is tracked."""

    size: int = 192  # W
    follow: float = 0.4  # share of the head's rotation that a torso takes on where it is not seen
    least_cloth: float = 0.02  # share of the picture that must show clothes
    blurs: tuple[float, ...] = (8.0, 4.0, 2.0, 1.0)  # pixels, coarse to fine
    iterations: int = 8  # for each blur and each round
    likeness: int = 2  # further rounds, in which frames are registered to their median instead of the reference
    robust: float = 12.0  # difference of 0–255 from which on a pixel counts linearly (Huber)
    steady: float = 0.04  # seconds over which the motion is smoothed
    calm: float = 0.4  # the same for a torso that is not seen and follows the head

    def __post_init__(self) -> None:
        if self.size < 32 or not self.blurs or self.iterations < 1:
            raise PegasusError(Reason.BAD_CONFIG, "needs size ≥ 32, a blur and an iteration", subject="TorsoConfig")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Similarities:
    """A similarity z → αz + τ for each frame, from positions in the reference frame to positions in this frame."""

    alpha: Tensor  # (T,) complex: scale and roll
    shift: Tensor  # (T,) complex τ, pixels
    error: Tensor  # (T,) mean robust difference between the frame and what it was registered to

    def select(self, frames: slice) -> _Similarities:
        """Those of some of the frames; writing into them writes into these."""
        return _Similarities(alpha=self.alpha[frames], shift=self.shift[frames], error=self.error[frames])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    """What frames are registered to, at the pixels with clothes."""

    values: Tensor  # (C, N)
    gradient: Tensor  # (C, N, 2) a pixel, across and down
    places: Tensor  # (N,) complex, pixels from the middle

    @staticmethod
    def of(picture: npt.NDArray[np.float32], rows: Ints, columns: Ints) -> _Template:
        """From a picture (W, W, C) at some of its pixels, (N,) each."""
        down, across = np.gradient(picture, axis=(0, 1))
        places = np.stack([columns, rows], 1) + 0.5 - len(picture) / 2
        return _Template(
            values=torch.from_numpy(picture[rows, columns]).T,
            gradient=torch.from_numpy(np.stack([across, down], -1)[rows, columns]).transpose(0, 1),
            places=torch.view_as_complex(torch.from_numpy(places).double()),
        )


def track_torso(rig: Rig, frames: SegmentedFrames, fit: RigFit, config: TorsoConfig | None = None) -> Floats:
    """The torso's pose of each frame, rig → camera, (T, 6): rotation vector (radians) and translation (metres).

    Where hardly any clothes are seen, the torso hangs on the neck and takes on a share of the head's rotation.

    Args:
        rig: the rig that was fitted.
        frames: the video's frames.
        fit: the rig's parameters of the same frames.
        config: how the torso is tracked.
    """
    config = config or TorsoConfig()
    neck = rig.joints(torch.from_numpy(fit.shape)[None])[0, rig.pivot]
    heads = torch.from_numpy(fit.head)
    cloth = (frames.parts == Label.CLOTH) & (frames.mattes > 127)
    if np.median(cloth.mean((1, 2))) < config.least_cloth:
        return _follow_head(heads, neck, frames.times, config)
    reference = _reference(cloth, heads)
    likely = heads[reference, 5] / heads[:, 5]  # where the head is nearer to the camera, so is the torso
    found, trusted = _register(frames, cloth, likely.double(), reference, config)
    alpha, shift = np.asarray(found.alpha), np.asarray(found.shift / config.size)
    motion = np.stack([np.log(np.abs(alpha)), np.angle(alpha), shift.real, shift.imag], 1)
    motion = smooth(_bridge(motion, trusted, frames.times), frames.times, config.steady)
    start = _hang_on_neck(heads[reference : reference + 1], neck, config.follow)
    return _lift(motion, start, neck, fit.camera)


def smooth(
    values: npt.NDArray[np.float64],  # (T, D)
    times: Floats,  # (T,) seconds
    width: float,  # seconds
) -> npt.NDArray[np.float64]:
    """Values smoothed over time by local linear regression with Gaussian weights, (T, D).

    Because lines are fitted and not means, a motion of constant speed is not changed.
    """
    gap = times[None].astype(np.float64) - times[:, None]
    weight = np.exp(-0.5 * (gap / width) ** 2)
    weight[np.abs(gap) > 4 * width] = 0
    total, first, second = weight.sum(1), (weight * gap).sum(1), (weight * gap**2).sum(1)
    determinant = np.maximum(total * second - first**2, 1e-12)
    local = np.where(
        (second > 1e-3 * width**2)[:, None],
        weight * (second[:, None] - first[:, None] * gap) / determinant[:, None],
        weight / total[:, None],
    )
    return np.asarray(local @ values)


def _reference(cloth: npt.NDArray[np.bool_], heads: Tensor) -> int:
    """The number of the most usual frame: in the head's pose, in how much cloth there is and where.

    Args:
        cloth: pixels that show clothes, (T, S, S).
        heads: the head's poses, (T, 6).
    """
    size = cloth.shape[1]
    share = cloth.mean((1, 2))
    across, down = (cloth.mean(axis) @ np.arange(size) / np.maximum(size * size * share, 1) for axis in (1, 2))
    measures = np.column_stack([heads.numpy(), share, across, down])
    scale = np.array([*POSE_SCALES, *CLOTH_SCALES])
    return int((np.abs(measures - np.median(measures, axis=0)) / scale).sum(1).argmin())


def _register(
    frames: SegmentedFrames,
    cloth: npt.NDArray[np.bool_],  # (T, S, S)
    likely: Tensor,  # (T,) scales
    reference: int,
    config: TorsoConfig,
) -> tuple[_Similarities, npt.NDArray[np.bool_]]:
    """The similarities of all frames, and which of them can be trusted, (T,)."""
    size = config.size
    pictures = np.stack(
        [_channels(*frame, size) for frame in zip(frames.images, frames.mattes, cloth, strict=True)]
    )  # (T, W, W, C)
    near = cv2.resize(cloth[reference].astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    near = cv2.dilate(near.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    rows, columns = np.nonzero(near)
    found = _Similarities(
        alpha=torch.complex(likely, torch.zeros_like(likely)),
        shift=torch.zeros(len(pictures), dtype=torch.complex128),
        error=torch.zeros(len(pictures), dtype=torch.float64),
    )
    rounds = [*config.blurs, *[config.blurs[-1]] * config.likeness]
    for number, blur in enumerate(rounds):
        shown = pictures[reference] if number < len(config.blurs) else _median_picture(pictures, found)
        template = _Template.of(cv2.GaussianBlur(shown, (0, 0), blur), rows, columns)
        for begin in range(0, len(pictures), FRAMES_AT_ONCE):
            part = slice(begin, begin + FRAMES_AT_ONCE)
            blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), blur) for picture in pictures[part]])
            values = torch.from_numpy(blurred).permute(0, 3, 1, 2)  # (t, C, W, W)
            aligned = _align(values, template, found.select(part), likely[part], config)
            found.alpha[part], found.shift[part], found.error[part] = aligned.alpha, aligned.shift, aligned.error
    scale, error = found.alpha.abs(), found.error
    trusted = (scale > MIN_SCALE) & (scale < MAX_SCALE) & (error < 3 * error.median() + config.robust)
    return found, np.asarray(trusted)


def _median_picture(
    pictures: npt.NDArray[np.float32],  # (T, W, W, C)
    found: _Similarities,
) -> npt.NDArray[np.float32]:
    """The median of the better registered half of the frames, each warped onto the reference frame, (W, W, C)."""
    size = pictures.shape[1]
    better = found.error.argsort(stable=True)[: max(len(found.error) // 2, 1)].sort().values
    middle = (size - 1) / 2
    warped = []
    for frame in better[torch.from_numpy(evenly(len(better), MAX_MEDIAN_FRAMES))].tolist():
        a, t = complex(found.alpha[frame]), complex(found.shift[frame])
        x0, y0 = middle + t.real - (a.real - a.imag) * middle, middle + t.imag - (a.imag + a.real) * middle
        there = np.array([[a.real, -a.imag, x0], [a.imag, a.real, y0]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        warped.append(
            cv2.warpAffine(pictures[frame], there, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        )
    return np.asarray(np.median(np.stack(warped), 0), dtype=np.float32)


def _channels(image: Bytes, matte: Bytes, cloth: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.float32]:
    """The clothes' colours less their mean, and the person's silhouette, (W, W, 4).

    Both are zero in the background, so that it does not take part in the registration.
    """
    opacity = matte.astype(np.float32)[..., None] / 255
    mean = image[cloth].mean(0) if cloth.any() else np.full(3, 127.0)
    picture = np.concatenate([(image - mean) * opacity, SILHOUETTE_WEIGHT * opacity], -1).astype(np.float32)
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))


def _align(
    values: Tensor,  # (t, C, W, W) the frames
    template: _Template,
    start: _Similarities,
    likely: Tensor,  # (t,) scales
    config: TorsoConfig,
) -> _Similarities:
    """One level of the registration: Gauss–Newton steps from the similarities of the level before."""
    size = values.shape[-1]
    z, alpha, shift = template.places, start.alpha, start.shift
    unit = float(z.abs().mean())
    x, y = z.real / unit, z.imag / unit
    across, down = template.gradient.double().unbind(-1)
    jacobian = torch.stack([across * x + down * y, down * x - across * y, across, down], -1)  # (C, N, 4)
    products = (jacobian[..., :, None] * jacobian[..., None, :]).float()  # (C, N, 4, 4)
    tolerance = torch.tensor(
        [LOG_SCALE_TOLERANCE * unit, ROLL_TOLERANCE * unit, SHIFT_TOLERANCE * size, SHIFT_TOLERANCE * size],
        dtype=torch.float64,
    )
    prior = template.values.numel() / tolerance.square()
    error = torch.zeros(len(values), dtype=torch.float64)
    for _ in range(config.iterations):
        there = torch.view_as_real(alpha[:, None] * z + shift[:, None])  # (t, N, 2) pixels
        grid = (there / (size / 2)).float()
        inside = (grid.abs() < 1 - 1 / size).all(-1)  # (t, N)
        seen = torch.nn.functional.grid_sample(values, grid[:, None], align_corners=False)[:, :, 0]  # (t, C, N)
        difference = seen - template.values
        weight = inside[:, None] / difference.abs().clamp(min=config.robust)
        count = inside.sum(1).clamp(min=1).double()
        error = (difference.abs().clamp(max=4 * config.robust) * inside[:, None]).sum((1, 2)).double() / count
        curvature = torch.einsum("tcn,cnij->tij", weight, products).double()
        slope = torch.einsum("tcn,cni->ti", (weight * difference).double(), jacobian)
        strayed = torch.stack([(alpha.abs() / likely).log() * unit, alpha.angle() * unit, shift.real, shift.imag], -1)
        step = torch.linalg.solve(curvature + torch.diag(prior), slope + prior * strayed)
        grow, turn, right, below = step.unbind(-1)
        change = 1 + torch.complex(grow, turn) / unit
        alpha = alpha / change
        shift = shift - alpha * torch.complex(right, below)
    return _Similarities(alpha=alpha, shift=shift, error=error)


def _bridge(motion: npt.NDArray[np.float64], trusted: npt.NDArray[np.bool_], times: Floats) -> npt.NDArray[np.float64]:
    """The motion (T, 4), interpolated between trusted frames where the registration failed."""
    if trusted.all() or not trusted.any():
        return motion
    return np.stack([np.interp(times, times[trusted], column[trusted]) for column in motion.T], 1)


def _hang_on_neck(heads: Tensor, neck: Tensor, follow: float) -> Tensor:
    """Poses (T, 6) of torsos that take on a share of the heads' rotation and stay joined to them at the neck (3,)."""
    place = rigid_transforms(heads)
    hinge = (place[..., :3] @ neck) + place[..., 3]
    pose = torch.cat([follow * heads[:, :3], torch.zeros_like(hinge)], 1)
    return torch.cat([pose[:, :3], hinge - rigid_transforms(pose)[..., :3] @ neck], 1)


def _follow_head(heads: Tensor, neck: Tensor, times: Floats, config: TorsoConfig) -> Floats:
    """Poses (T, 6) of a torso that is not seen: it hangs on the neck, smoothed more than one that is seen."""
    hanging = _hang_on_neck(heads, neck, config.follow).double().numpy()
    return smooth(hanging, times, config.calm).astype(np.float32)


def _lift(motion: npt.NDArray[np.float64], start: Tensor, neck: Tensor, camera: Floats) -> Floats:
    """Poses in camera space (T, 6) from similarities of the picture.

    A roll about the principal point is the same for all depths. A scale s moves the torso, which is taken to be as deep as
    its neck, to depth / s.

    Args:
        motion: logarithm of the scale, roll (radians), shift right and down (sides), (T, 4).
        start: the torso's pose in the reference frame, (1, 6).
        neck: the neck's place in the rig, (3,).
        camera: (T, 3).
    """
    frames = len(motion)
    lens = torch.from_numpy(camera).double()
    growth, roll, right, below = torch.from_numpy(motion).unbind(1)
    place = rigid_transforms(start)[0].double()
    depth = float((place[:, :3] @ neck.double() + place[:, 3])[2])
    scale, zero = growth.exp(), torch.zeros(frames, dtype=torch.float64)
    middle = torch.complex(lens[:, 1], lens[:, 2]) - complex(0.5, 0.5)
    about = torch.polar(scale, roll) * middle + torch.complex(right, below) - middle  # where the principal point goes
    turn = rodrigues(torch.stack([zero, zero, roll], 1))
    away = depth / scale
    sideways = torch.view_as_real(about) * (away / lens[:, 0])[:, None]
    offset = torch.cat([sideways, (away - depth)[:, None]], 1)
    vectors = rotation_vectors(turn @ rodrigues(start[:, :3].double()))
    return torch.cat([vectors, (turn @ place[:, 3]) + offset], 1).float().numpy()
