"""What people do before the camera: talk, blink, turn the head, sway. The same seed gives the same motion.

Each movement is a sum of events and slow waves whose statistics do not change over the clip. So the last tenth of the frames,
which no fit may see, is like the rest.

Legend: T frames, E expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from pegasus_ray.rig.model import rodrigues
from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.identity import studio_rig
from pegasus_ray.studio.person import Person

CAMERA_DISTANCE_METRES: Final = 1.05  # from the camera to the eyes
FOCAL_SIDES: Final = 2.65  # focal length in sides of the picture, which then spans 40 cm at the eyes
EYE_HEIGHT_METRES: Final = 0.030  # of the eyes above the picture's middle
NECK_PIVOT: Final = (0.0, -0.105, -0.085)  # metres in rig space: the head turns about it
WAIST_PIVOT: Final = (0.0, -0.45, -0.08)  # metres in rig space: the torso sways about it
YAW_RADIANS, PITCH_RADIANS, ROLL_RADIANS = 0.62, 0.17, 0.12  # how far the head usually turns
FAR_YAW_RADIANS: Final = 0.785  # how far it turns in every sixth glance away from the camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """The movement of a person before a fixed camera."""

    expression: Tensor  # (T, E) in the rig's order
    head: Tensor  # (T, 6) rotation vector, translation: rig → camera
    torso: Tensor  # (T, 6)
    camera: Tensor  # (3,) focal length, principal point x and y, in sides of the picture
    times: Floats  # (T,) seconds

    def __len__(self) -> int:
        return len(self.times)

    def select(self, frames: Sequence[int]) -> Motion:
        """The same motion with only the frames named, in that order."""
        chosen = list(frames)
        per_frame = {name: getattr(self, name)[chosen] for name in ("expression", "head", "torso", "times")}
        return replace(self, **per_frame)


def perform(person: Person, frames: int, fps: float = 25.0, seed: int | None = None) -> Motion:
    """A talking-head performance of `frames` frames, in which the head turns up to 45° if it lasts ten seconds or more.

    Args:
        person: who performs.
        frames: number of frames.
        fps: frames per second of the video.
        seed: of the motion; the person's own where it is None.
    """
    rng = np.random.default_rng([person.seed if seed is None else seed, 17])
    lead = int(2 * fps)  # extra frames at both ends, cut off again, so that filters do not see the ends
    count = frames + 2 * lead
    turn = _head_turns(rng, count, fps)
    expression = _expressions(rng, count, fps, turn)
    sway = np.stack([_wave(rng, count, fps, 0.22) for _ in range(6)], 1)
    kept = slice(lead, lead + frames)
    bent = np.stack([0.030 * sway[:, 0], 0.25 * turn[:, 1] * 0.35 + 0.045 * sway[:, 1], 0.030 * sway[:, 2]], 1)
    torso = _standing_poses(
        torch.from_numpy(bent[kept].astype(np.float32)),
        WAIST_PIVOT,
        np.asarray(0.008 * sway[kept, 3:], dtype=np.float32),
    )
    neck = _camera_position(torso, NECK_PIVOT)
    head = _poses_about(torch.from_numpy(turn[kept].astype(np.float32)), NECK_PIVOT, neck)
    return Motion(
        expression=torch.from_numpy(expression[kept].astype(np.float32)),
        head=head,
        torso=torso,
        camera=torch.tensor([FOCAL_SIDES, 0.5, 0.5]),
        times=np.asarray(np.arange(frames) / fps, dtype=np.float32),
    )


def pose_stills(expressions: list[dict[str, float]], turns: list[tuple[float, float, float]]) -> Motion:
    """Posed frames: for each the expressions by name, 0–1, and the head's (pitch, yaw, roll) in degrees."""
    names = studio_rig().expression_names
    count = len(expressions)
    expression = torch.zeros(count, len(names))
    for row, values in enumerate(expressions):
        for name, value in values.items():
            expression[row, names.index(name)] = value
    upright = _standing_poses(torch.zeros(count, 3), WAIST_PIVOT, np.zeros((count, 3), np.float32))
    neck = _camera_position(upright, NECK_PIVOT)
    return Motion(
        expression=expression,
        head=_poses_about(torch.deg2rad(torch.tensor(turns, dtype=torch.float32)), NECK_PIVOT, neck),
        torso=upright,
        camera=torch.tensor([FOCAL_SIDES, 0.5, 0.5]),
        times=np.asarray(np.arange(count) / 25, dtype=np.float32),
    )


def _standing_poses(turn: Tensor, pivot: tuple[float, float, float], shift: Floats) -> Tensor:
    """Poses (T, 6), rig → camera, of a body at its usual distance from the camera, turned about a pivot and shifted.

    Args:
        turn: rotation vectors, (T, 3).
        pivot: metres in rig space.
        shift: metres in camera space, (T, 3).
    """
    usual = torch.tensor([0.0, -EYE_HEIGHT_METRES, CAMERA_DISTANCE_METRES])
    held = _flip(pivot)
    translation = usual + held - (rodrigues(turn) @ held) + torch.from_numpy(shift)
    return torch.cat([turn, translation], 1)


def _poses_about(turn: Tensor, pivot: tuple[float, float, float], place: Tensor) -> Tensor:
    """Poses (T, 6) with rotation vectors (T, 3) that bring a pivot of rig space to `place` (T, 3) in camera space."""
    return torch.cat([turn, place - rodrigues(turn) @ _flip(pivot)], 1)


def _camera_position(pose: Tensor, point: tuple[float, float, float]) -> Tensor:
    """Positions (T, 3) in camera space of a point of rig space under poses (T, 6)."""
    return rodrigues(pose[:, :3]) @ _flip(point) + pose[:, 3:]


def _flip(point: tuple[float, float, float]) -> Tensor:
    """A vector (3,) of rig space (y up, z out of the face) on the axes of camera space (y down, z away)."""
    return torch.tensor([1.0, -1.0, -1.0]) * torch.tensor(point)


def _wave(rng: np.random.Generator, count: int, fps: float, hertz: float) -> Floats:
    """Smooth noise (T,) of variance about one with most of its power below `hertz`."""
    width = fps / (2 * np.pi * hertz)
    pad = int(6 * width) + 1
    white = rng.standard_normal(count + 2 * pad)
    smooth = gaussian_filter1d(white, width)[pad : pad + count]
    return np.asarray(smooth * np.sqrt(2 * width * np.sqrt(np.pi)), dtype=np.float32)


def _head_turns(rng: np.random.Generator, count: int, fps: float) -> Floats:
    """Turns of the head (T, 3) as rotation vectors in camera space: glances of a second or two, and small nods."""
    limits = np.array([PITCH_RADIANS, YAW_RADIANS, ROLL_RADIANS])
    ends = np.array([1.2 * PITCH_RADIANS, FAR_YAW_RADIANS, 1.2 * ROLL_RADIANS])
    targets = np.zeros((count, 3))
    at, side, glances = 0, 1.0, 0
    while at < count:
        stay = int(fps * rng.uniform(0.7, 1.8))
        away = rng.random() < 0.75
        aim = rng.uniform(0.15, 1.0) * side if away else rng.uniform(-0.15, 0.15)
        side = -side if away and rng.random() < 0.7 else side
        glances += away
        if away and glances % 6 == 0:
            aim, stay = np.sign(aim) * 1.05 * FAR_YAW_RADIANS / YAW_RADIANS, max(stay, int(1.1 * fps))
        targets[at : at + stay] = np.array([rng.uniform(-0.8, 0.8), aim, 0.5 * rng.uniform(-1, 1)]) * limits
        at += stay
    smooth = gaussian_filter1d(targets, 0.22 * fps, axis=0, mode="nearest")
    nods = np.stack(
        [_wave(rng, count, fps, 0.9) * 0.022, _wave(rng, count, fps, 0.7) * 0.03, _wave(rng, count, fps, 0.5) * 0.025],
        1,
    )
    return np.asarray(np.clip(smooth + nods, -ends, ends), dtype=np.float32)


def _expressions(rng: np.random.Generator, count: int, fps: float, turn: Floats) -> Floats:
    """Expressions (T, E), 0–1: speech, smiles, brows, blinks and gaze; the eyes partly keep their aim as the head turns."""
    names = list(studio_rig().expression_names)
    out = np.zeros((count, len(names)))

    def add(name: str, values: Floats, *, both_sides: bool = False) -> None:
        for full in (name + "Left", name + "Right") if both_sides else (name,):
            out[:, names.index(full)] += values

    talking = np.clip(0.75 + 0.9 * _wave(rng, count, fps, 0.35), 0, 1)
    syllable = np.clip(_wave(rng, count, fps, 2.2) * 0.6 + 0.35, 0, None)
    jaw = np.clip(talking * syllable * 0.48, 0, 0.75)
    lips = np.clip(_wave(rng, count, fps, 1.6), -1.5, 1.5) * talking
    smile = np.clip(0.5 * _wave(rng, count, fps, 0.30) + 0.12, 0, 0.85)
    add("jawOpen", jaw)
    add("mouthFunnel", np.clip(lips, 0, 1) * 0.45)
    add("mouthPucker", np.clip(_wave(rng, count, fps, 1.1) - 0.5, 0, 1) * 0.45 * talking)
    add("mouthStretch", np.clip(-lips, 0, 1) * 0.30, both_sides=True)
    add("mouthUpperUp", np.clip(-lips - 0.2, 0, 1) * 0.28 + 0.12 * smile, both_sides=True)
    add("mouthLowerDown", np.clip(jaw - 0.12, 0, 1) * 0.5 + np.clip(-lips, 0, 1) * 0.15, both_sides=True)
    add("mouthPress", np.clip(_wave(rng, count, fps, 0.8) - 0.9, 0, 1) * 0.4 * (1 - jaw), both_sides=True)
    add("mouthSmile", smile, both_sides=True)
    add("cheekSquint", 0.5 * smile, both_sides=True)
    uneven = 0.12 * np.clip(_wave(rng, count, fps, 0.4), -1, 1)
    add("mouthLeft", np.clip(uneven, 0, 1))
    add("mouthRight", np.clip(-uneven, 0, 1))
    add("jawLeft", np.clip(uneven, 0, 1) * 0.5)

    brows = _wave(rng, count, fps, 0.45)
    add("browInnerUp", np.clip(0.7 * brows - 0.25, 0, 0.9))
    add("browOuterUp", np.clip(0.55 * brows - 0.2, 0, 0.8), both_sides=True)
    add("browDown", np.clip(-0.55 * brows - 0.3, 0, 0.7), both_sides=True)

    blink = _blinks(rng, count, fps)
    up_down = 0.30 * _saccades(rng, count, fps) + 1.1 * turn[:, 0]
    across = 0.45 * _saccades(rng, count, fps) - 0.55 * turn[:, 1]
    add("eyeBlink", np.clip(blink + 0.05 * smile, 0, 1), both_sides=True)
    add("eyeSquint", 0.35 * smile, both_sides=True)
    add("eyeWide", np.clip(0.5 * brows - 0.55, 0, 0.6) * (1 - blink), both_sides=True)
    add("eyeLookUp", np.clip(up_down, 0, 0.5), both_sides=True)
    add("eyeLookDown", np.clip(-up_down, 0, 0.5), both_sides=True)
    for name, sign in (("eyeLookOutLeft", 1), ("eyeLookInRight", 1), ("eyeLookInLeft", -1), ("eyeLookOutRight", -1)):
        add(name, np.clip(sign * across, 0, 0.65))
    return np.asarray(np.clip(out, 0, 1), dtype=np.float32)


def _blinks(rng: np.random.Generator, count: int, fps: float) -> Floats:
    """How far the lids are shut, (T,) 0–1: a blink every few seconds, which closes in 0.1 s and opens again in 0.2 s."""
    lids = np.zeros(count)
    at = rng.uniform(0, 2.5)
    seconds = np.arange(count) / fps
    while at < count / fps:
        since = seconds - at
        shut = np.where(
            since < 0, np.exp(-((since / 0.055) ** 2)), np.exp(-((np.clip(since - 0.05, 0, None) / 0.095) ** 2))
        )
        lids = np.maximum(lids, shut)
        at += rng.uniform(1.4, 4.0)
    return np.asarray(lids, dtype=np.float32)


def _saccades(rng: np.random.Generator, count: int, fps: float) -> Floats:
    """Saccades of the eyes with rests between, (T,) in −1…1."""
    places = np.zeros(count)
    at = 0
    while at < count:
        stay = max(int(fps * rng.uniform(0.4, 1.6)), 1)
        places[at : at + stay] = np.clip(0.5 * rng.standard_normal(), -1, 1)
        at += stay
    return np.asarray(gaussian_filter1d(places, 0.03 * fps, mode="nearest"), dtype=np.float32)
