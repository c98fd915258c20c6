"""The torso's own motion: roll, translation and depth, from registering the clothes of all frames to one of them.

A torso does not follow the head that turns above it. Its clothes are aligned to those of a reference frame by a similarity
(inverse compositional Lucas–Kanade, coarse to fine, robust, all frames at once); turned into camera space, roll is a
rotation about the viewing axis and scale is depth.

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

from pegasus_ray.library.track import Bytes, Floats
from pegasus_ray.rig.model import Rig, rigid, rodrigues, rotation_vectors
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Label

SILHOUETTE: Final = 96.0  # how much of a channel's 0–255 the matte counts
CHUNK: Final = 64  # frames registered at once
AGREEING: Final = 48  # frames whose median a likeness is, at most
STRETCH: Final = 0.1  # off the likely scale, as unlikely as a difference of 1 in every pixel
ROLL: Final = 0.1  # radians, likewise
SHIFT: Final = 0.1  # sides, likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class TorsoConfig:
    """How the torso is followed."""

    size: int = 192  # W
    follow: float = 0.4  # share of the head's rotation that a torso takes which is not seen
    least_cloth: float = 0.02  # share of the picture that must show clothes
    blurs: tuple[float, ...] = (8.0, 4.0, 2.0, 1.0)  # pixels, coarse to fine
    iterations: int = 8  # a level
    likeness: int = 2  # rounds in which all frames are registered to what they show together, not to the one of them
    robust: float = 12.0  # difference of 0–255 from which on a pixel counts linearly
    steady: float = 0.04  # seconds over which the motion is smoothed
    calm: float = 0.4  # the same for a torso that is not seen and follows the head

    def __post_init__(self) -> None:
        if self.size < 32 or not self.blurs or self.iterations < 1:
            raise PegasusError(Reason.BAD_CONFIG, "needs size ≥ 32, a blur and an iteration", subject="TorsoConfig")


def track_torso(
    rig: Rig,
    *,
    images: Bytes,  # (T, S, S, 3)
    mattes: Bytes,  # (T, S, S)
    parts: Bytes,  # (T, S, S)
    times: Floats,  # (T,) seconds
    shape: Floats,  # (K,)
    head: Floats,  # (T, 6)
    camera: Floats,  # (T, 3)
    config: TorsoConfig | None = None,
) -> Floats:
    """The torso's pose of each frame, rig → camera, (T, 6): rotation vector (radians) and translation (metres)."""
    config = config or TorsoConfig()
    neck = rig.joints(torch.from_numpy(shape)[None])[0, rig.pivot]
    poses = torch.from_numpy(head)
    cloth = (parts == Label.CLOTH) & (mattes > 127)
    if np.median(cloth.mean((1, 2))) < config.least_cloth:
        return _follow(poses, neck, times, config)
    reference = _reference(cloth, poses)
    likely = poses[reference, 5] / poses[:, 5]  # near heads have near torsos
    alpha, shift, trusted = _register(images, mattes, cloth, likely.double(), reference, config)
    motion = np.stack([np.log(np.abs(alpha)), np.angle(alpha), shift.real, shift.imag], 1)
    motion = smooth(_bridge(motion, trusted, times), times, config.steady)
    start = _hanging(poses[reference : reference + 1], neck, config.follow)
    return _lift(motion, start, neck, camera)


def smooth(
    values: npt.NDArray[np.float64],  # (T, D)
    times: Floats,  # (T,) seconds
    width: float,  # seconds
) -> npt.NDArray[np.float64]:
    """Each frame's values as a mean of those near in time, the nearest counting most (local lines, so ramps stay)."""
    gap = times[None].astype(np.float64) - times[:, None]
    weight = np.exp(-0.5 * (gap / width) ** 2)
    weight[np.abs(gap) > 4 * width] = 0
    total, first, second = weight.sum(1), (weight * gap).sum(1), (weight * gap**2).sum(1)
    spread = np.maximum(total * second - first**2, 1e-12)
    local = np.where(
        (second > 1e-3 * width**2)[:, None],
        weight * (second[:, None] - first[:, None] * gap) / spread[:, None],
        weight / total[:, None],
    )
    return np.asarray(local @ values)


def _reference(cloth: npt.NDArray[np.bool_], poses: Tensor) -> int:
    """A frame as most frames are: in the head's pose, in how much cloth there is and where."""
    size = cloth.shape[1]
    share = cloth.mean((1, 2))
    across, down = (cloth.mean(axis) @ np.arange(size) / np.maximum(size * size * share, 1) for axis in (1, 2))
    looks = np.column_stack([poses.numpy(), share, across, down])
    scale = np.array([0.1] * 3 + [0.02] * 3 + [0.02] * 3)
    return int((np.abs(looks - np.median(looks, axis=0)) / scale).sum(1).argmin())


def _register(
    images: Bytes,
    mattes: Bytes,
    cloth: npt.NDArray[np.bool_],
    likely: Tensor,  # (T,) scales
    reference: int,
    config: TorsoConfig,
) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128], npt.NDArray[np.bool_]]:
    """Similarities z → αz + τ that take the reference's places to each frame's, and which of them hold.

    Places are complex numbers, fractions of the side from the picture's middle, x right, y down.
    """
    size = config.size
    pictures = np.stack([_channels(*frame, size) for frame in zip(images, mattes, cloth, strict=True)])
    near = cv2.resize(cloth[reference].astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0.5
    near = cv2.dilate(near.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    rows, columns = np.nonzero(near)
    places = torch.from_numpy(np.stack([columns, rows], 1) + 0.5 - size / 2).double()
    z = torch.view_as_complex(places)  # (N,) pixels from the middle
    alpha = torch.complex(likely, torch.zeros_like(likely))
    shift = torch.zeros(len(images), dtype=torch.complex128)
    error = torch.zeros(len(images), dtype=torch.float64)
    rounds = [*config.blurs, *[config.blurs[-1]] * config.likeness]
    for number, blur in enumerate(rounds):
        shown = pictures[reference] if number < len(config.blurs) else _likeness(pictures, alpha, shift, error)
        still = cv2.GaussianBlur(shown, (0, 0), blur)
        template = torch.from_numpy(still[rows, columns]).T  # (C, N)
        down, across = np.gradient(still, axis=(0, 1))
        gradient = torch.from_numpy(np.stack([across, down], -1)[rows, columns]).transpose(0, 1)  # (C, N, 2)
        for begin in range(0, len(images), CHUNK):
            part = slice(begin, begin + CHUNK)
            blurred = np.stack([cv2.GaussianBlur(picture, (0, 0), blur) for picture in pictures[part]])
            values = torch.from_numpy(blurred).permute(0, 3, 1, 2)  # (t, C, W, W)
            alpha[part], shift[part], error[part] = _align(
                values, template, gradient, z, alpha[part], shift[part], likely[part], config
            )
    plausible = (alpha.abs() > 0.6) & (alpha.abs() < 1.6) & (error < 3 * error.median() + config.robust)
    return np.asarray(alpha), np.asarray(shift / size), np.asarray(plausible)


def _likeness(
    pictures: npt.NDArray[np.float32],  # (T, W, W, 4)
    alpha: Tensor,  # (T,) complex
    shift: Tensor,  # (T,) complex, pixels
    error: Tensor,  # (T,)
) -> npt.NDArray[np.float32]:
    """What the better half of the frames show together at the reference's places, (W, W, 4): their median."""
    size = pictures.shape[1]
    better = error.argsort(stable=True)[: max(len(error) // 2, 1)].sort().values
    chosen = better[torch.linspace(0, len(better) - 1, min(AGREEING, len(better))).round().long()].tolist()
    middle = (size - 1) / 2
    laid = []
    for frame in chosen:
        a, t = complex(alpha[frame]), complex(shift[frame])
        x0, y0 = middle + t.real - (a.real - a.imag) * middle, middle + t.imag - (a.imag + a.real) * middle
        there = np.array([[a.real, -a.imag, x0], [a.imag, a.real, y0]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        laid.append(cv2.warpAffine(pictures[frame], there, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE))
    return np.asarray(np.median(np.stack(laid), 0), dtype=np.float32)


def _channels(image: Bytes, matte: Bytes, cloth: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.float32]:
    """The clothes' colours less their mean, and the person's silhouette, (W, W, 4): the background has no say."""
    opacity = matte.astype(np.float32)[..., None] / 255
    mean = image[cloth].mean(0) if cloth.any() else np.full(3, 127.0)
    picture = np.concatenate([(image - mean) * opacity, SILHOUETTE * opacity], -1).astype(np.float32)
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))


def _align(
    values: Tensor,  # (t, C, W, W)
    template: Tensor,  # (C, N)
    gradient: Tensor,  # (C, N, 2)
    z: Tensor,  # (N,) complex
    alpha: Tensor,  # (t,) complex
    shift: Tensor,  # (t,) complex, pixels
    likely: Tensor,  # (t,) scales
    config: TorsoConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """One level of the registration: the similarities and the mean robust difference, (t,) each."""
    size = values.shape[-1]
    unit = float(z.abs().mean())
    x, y = z.real / unit, z.imag / unit
    across, down = gradient.double().unbind(-1)
    jacobian = torch.stack([across * x + down * y, down * x - across * y, across, down], -1)  # (C, N, 4)
    products = (jacobian[..., :, None] * jacobian[..., None, :]).float()  # (C, N, 4, 4)
    spread = torch.tensor([STRETCH * unit, ROLL * unit, SHIFT * size, SHIFT * size], dtype=torch.float64)
    prior = template.numel() / spread.square()
    error = torch.zeros(len(values), dtype=torch.float64)
    for _ in range(config.iterations):
        there = torch.view_as_real(alpha[:, None] * z + shift[:, None])  # (t, N, 2) pixels
        grid = (there / (size / 2)).float()
        inside = (grid.abs() < 1 - 1 / size).all(-1)  # (t, N)
        seen = torch.nn.functional.grid_sample(values, grid[:, None], align_corners=False)[:, :, 0]  # (t, C, N)
        difference = seen - template
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
    return alpha, shift, error


def _bridge(motion: npt.NDArray[np.float64], trusted: npt.NDArray[np.bool_], times: Floats) -> npt.NDArray[np.float64]:
    """Frames whose registration failed take what lies between the trusted frames before and after them."""
    if trusted.all() or not trusted.any():
        return motion
    return np.stack([np.interp(times, times[trusted], column[trusted]) for column in motion.T], 1)


def _hanging(heads: Tensor, neck: Tensor, follow: float) -> Tensor:
    """Poses (T, 6) of torsos that take a share of the heads' rotation and hang on the heads' necks."""
    place = rigid(heads)
    hinge = (place[..., :3] @ neck) + place[..., 3]
    pose = torch.cat([follow * heads[:, :3], torch.zeros_like(hinge)], 1)
    return torch.cat([pose[:, :3], hinge - rigid(pose)[..., :3] @ neck], 1)


def _follow(poses: Tensor, neck: Tensor, times: Floats, config: TorsoConfig) -> Floats:
    """A torso that is not seen: calmly where the head says."""
    hanging = _hanging(poses, neck, config.follow).double().numpy()
    return smooth(hanging, times, config.calm).astype(np.float32)


def _lift(motion: npt.NDArray[np.float64], start: Tensor, neck: Tensor, camera: Floats) -> Floats:
    """Similarities of the picture (T, 4) to poses in camera space, from the reference's pose (1, 6).

    About the principal point, a roll is the same for all depths; a scale s moves the torso, as deep as its neck, to depth / s.
    """
    frames = len(motion)
    lens = torch.from_numpy(camera).double()
    growth, roll, right, below = torch.from_numpy(motion).unbind(1)
    place = rigid(start)[0].double()
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
