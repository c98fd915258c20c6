"""What people do before the camera: talk, blink, look about, sway. The same seed gives the same motion.

Each movement is a sum of events and slow waves whose statistics do not change over the clip, so the last tenth, which no fit may
see, is like the rest.

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
from pegasus_ray.studio.noise import Floats
from pegasus_ray.studio.people import Person, studio_rig

DISTANCE: Final = 1.05  # metres from the camera to the eyes
FOCAL: Final = 2.65  # sides of the picture: 40 cm across at the eyes
EYE_HEIGHT: Final = 0.030  # metres above the picture's middle
NECK: Final = (0.0, -0.105, -0.085)  # metres in rig space: what the head turns about
WAIST: Final = (0.0, -0.45, -0.08)  # what the torso sways about
YAW, PITCH, ROLL = 0.62, 0.17, 0.12  # radians: as far as the head usually goes
FAR: Final = 0.785  # radians: as far as it turns in every sixth look away from the camera


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """A performance before a fixed camera."""

    expression: Tensor  # (T, E) in the rig's order
    head: Tensor  # (T, 6) rotation vector, translation: rig → camera
    torso: Tensor  # (T, 6)
    camera: Tensor  # (3,) focal length, principal point x and y, in sides
    times: Floats  # (T,) seconds

    def __len__(self) -> int:
        return len(self.times)

    def select(self, frames: Sequence[int]) -> Motion:
        """The same motion with only the frames named, in that order."""
        chosen = list(frames)
        per_frame = {name: getattr(self, name)[chosen] for name in ("expression", "head", "torso", "times")}
        return replace(self, **per_frame)


def perform(person: Person, frames: int, fps: float = 25.0, seed: int | None = None, *, reach: float = 1.0) -> Motion:
    """A talking-head performance of `frames` frames.

    Args:
        person: who; the motion is by their own seed where none is given.
        frames: how many.
        fps: of the video.
        seed: of the motion.
        reach: how far the head turns, 1 is up to 45° in a performance of ten seconds or more.
    """
    rng = np.random.default_rng([person.seed if seed is None else seed, 17])
    lead = int(2 * fps)
    count = frames + 2 * lead
    turn = np.asarray(reach * _looking_about(rng, count, fps), dtype=np.float32)
    expression = _expressions(rng, count, fps, turn)
    sway = np.stack([_wave(rng, count, fps, 0.22) for _ in range(6)], 1)
    kept = slice(lead, lead + frames)
    bent = np.stack([0.030 * sway[:, 0], 0.25 * turn[:, 1] * 0.35 + 0.045 * sway[:, 1], 0.030 * sway[:, 2]], 1)
    torso = _placed(
        torch.from_numpy(bent[kept].astype(np.float32)), WAIST, np.asarray(0.008 * sway[kept, 3:], dtype=np.float32)
    )
    carried = _at(torso, NECK)
    head = _turned(torch.from_numpy(turn[kept].astype(np.float32)), NECK, carried)
    return Motion(
        expression=torch.from_numpy(expression[kept].astype(np.float32)),
        head=head,
        torso=torso,
        camera=torch.tensor([FOCAL, 0.5, 0.5]),
        times=np.asarray(np.arange(frames) / fps, dtype=np.float32),
    )


def sweep(frames: int, degrees: tuple[float, float] = (-45.0, 45.0)) -> Motion:
    """A silent turn of the head from one yaw to another, both included, in even steps: views that no performance dwells on."""
    return still([{}] * frames, [(0.0, yaw, 0.0) for yaw in np.linspace(*degrees, frames).tolist()])


def still(frames: list[dict[str, float]], turns: list[tuple[float, float, float]]) -> Motion:
    """Posed stills: named expressions and (pitch, yaw, roll) in degrees, a frame each."""
    names = studio_rig().expression_names
    expression = torch.zeros(len(frames), len(names))
    for row, values in enumerate(frames):
        for name, value in values.items():
            expression[row, names.index(name)] = value
    upright = _placed(torch.zeros(len(frames), 3), WAIST, np.zeros((len(frames), 3), np.float32))
    head = _turned(torch.deg2rad(torch.tensor(turns, dtype=torch.float32)), NECK, _at(upright, NECK))
    return Motion(
        expression=expression,
        head=head,
        torso=upright,
        camera=torch.tensor([FOCAL, 0.5, 0.5]),
        times=np.asarray(np.arange(len(frames)) / 25, dtype=np.float32),
    )


def _placed(bent: Tensor, pivot: tuple[float, float, float], shift: Floats) -> Tensor:
    """Transforms (T, 6) of a body turned by rotation vectors (T, 3) about a pivot of rig space, and shifted in metres."""
    home = torch.tensor([0.0, -EYE_HEIGHT, DISTANCE])
    flip = torch.tensor([1.0, -1.0, -1.0])
    held = flip * torch.tensor(pivot)
    translation = home + held - (rodrigues(bent) @ held) + torch.from_numpy(shift)
    return torch.cat([bent, translation], 1)


def _turned(turn: Tensor, pivot: tuple[float, float, float], place: Tensor) -> Tensor:
    """Transforms (T, 6) turned by (T, 3) about a pivot of rig space that lies at `place` (T, 3) of camera space."""
    held = torch.tensor([1.0, -1.0, -1.0]) * torch.tensor(pivot)
    return torch.cat([turn, place - rodrigues(turn) @ held], 1)


def _at(pose: Tensor, point: tuple[float, float, float]) -> Tensor:
    """Where a point of rig space lies in camera space under poses (T, 6), (T, 3)."""
    held = torch.tensor([1.0, -1.0, -1.0]) * torch.tensor(point)
    return rodrigues(pose[:, :3]) @ held + pose[:, 3:]


def _wave(rng: np.random.Generator, count: int, fps: float, hertz: float) -> Floats:
    """Slow smooth noise (T,) of variance about one; most of it below `hertz`."""
    width = fps / (2 * np.pi * hertz)
    pad = int(6 * width) + 1
    white = rng.standard_normal(count + 2 * pad)
    smooth = gaussian_filter1d(white, width)[pad : pad + count]
    return np.asarray(smooth * np.sqrt(2 * width * np.sqrt(np.pi)), dtype=np.float32)


def _looking_about(rng: np.random.Generator, count: int, fps: float) -> Floats:
    """Turns of the head (T, 3) as rotation vectors in camera space: towards places for a second or two, and small nods."""
    limits, ends = np.array([PITCH, YAW, ROLL]), np.array([1.2 * PITCH, FAR, 1.2 * ROLL])
    targets = np.zeros((count, 3))
    at, toggle, looks = 0, 1.0, 0
    while at < count:
        stay = int(fps * rng.uniform(0.7, 1.8))
        away = rng.random() < 0.75
        aim = rng.uniform(0.15, 1.0) * toggle if away else rng.uniform(-0.15, 0.15)
        toggle = -toggle if away and rng.random() < 0.7 else toggle
        looks += away
        if away and looks % 6 == 0:
            aim, stay = np.sign(aim) * 1.05 * FAR / YAW, max(stay, int(1.1 * fps))
        targets[at : at + stay] = np.array([rng.uniform(-0.8, 0.8), aim, 0.5 * rng.uniform(-1, 1)]) * limits
        at += stay
    smooth = gaussian_filter1d(targets, 0.22 * fps, axis=0, mode="nearest")
    nods = np.stack(
        [_wave(rng, count, fps, 0.9) * 0.022, _wave(rng, count, fps, 0.7) * 0.03, _wave(rng, count, fps, 0.5) * 0.025],
        1,
    )
    return np.asarray(np.clip(smooth + nods, -ends, ends), dtype=np.float32)


def _expressions(rng: np.random.Generator, count: int, fps: float, turn: Floats) -> Floats:
    """Expressions (T, E), 0–1."""
    names = list(studio_rig().expression_names)
    out = np.zeros((count, len(names)))

    def add(name: str, values: Floats, *, sides: bool = False) -> None:
        for full in (name + "Left", name + "Right") if sides else (name,):
            out[:, names.index(full)] += values

    talking = np.clip(0.75 + 0.9 * _wave(rng, count, fps, 0.35), 0, 1)
    syllable = np.clip(_wave(rng, count, fps, 2.2) * 0.6 + 0.35, 0, None)
    jaw = np.clip(talking * syllable * 0.48, 0, 0.75)
    lips = np.clip(_wave(rng, count, fps, 1.6), -1.5, 1.5) * talking
    smile = np.clip(0.5 * _wave(rng, count, fps, 0.30) + 0.12, 0, 0.85)
    add("jawOpen", jaw)
    add("mouthFunnel", np.clip(lips, 0, 1) * 0.45)
    add("mouthPucker", np.clip(_wave(rng, count, fps, 1.1) - 0.5, 0, 1) * 0.45 * talking)
    add("mouthStretch", np.clip(-lips, 0, 1) * 0.30, sides=True)
    add("mouthUpperUp", np.clip(-lips - 0.2, 0, 1) * 0.28 + 0.12 * smile, sides=True)
    add("mouthLowerDown", np.clip(jaw - 0.12, 0, 1) * 0.5 + np.clip(-lips, 0, 1) * 0.15, sides=True)
    add("mouthPress", np.clip(_wave(rng, count, fps, 0.8) - 0.9, 0, 1) * 0.4 * (1 - jaw), sides=True)
    add("mouthSmile", smile, sides=True)
    add("cheekSquint", 0.5 * smile, sides=True)
    uneven = 0.12 * np.clip(_wave(rng, count, fps, 0.4), -1, 1)
    add("mouthLeft", np.clip(uneven, 0, 1))
    add("mouthRight", np.clip(-uneven, 0, 1))
    add("jawLeft", np.clip(uneven, 0, 1) * 0.5)

    brows = _wave(rng, count, fps, 0.45)
    add("browInnerUp", np.clip(0.7 * brows - 0.25, 0, 0.9))
    add("browOuterUp", np.clip(0.55 * brows - 0.2, 0, 0.8), sides=True)
    add("browDown", np.clip(-0.55 * brows - 0.3, 0, 0.7), sides=True)

    blink = _blinks(rng, count, fps)
    up_down = 0.30 * _darts(rng, count, fps) + 1.1 * turn[:, 0]
    across = 0.45 * _darts(rng, count, fps) - 0.55 * turn[:, 1]
    add("eyeBlink", np.clip(blink + 0.05 * smile, 0, 1), sides=True)
    add("eyeSquint", 0.35 * smile, sides=True)
    add("eyeWide", np.clip(0.5 * brows - 0.55, 0, 0.6) * (1 - blink), sides=True)
    add("eyeLookUp", np.clip(up_down, 0, 0.5), sides=True)
    add("eyeLookDown", np.clip(-up_down, 0, 0.5), sides=True)
    for name, sign in (("eyeLookOutLeft", 1), ("eyeLookInRight", 1), ("eyeLookInLeft", -1), ("eyeLookOutRight", -1)):
        add(name, np.clip(sign * across, 0, 0.65))
    return np.asarray(np.clip(out, 0, 1), dtype=np.float32)


def _blinks(rng: np.random.Generator, count: int, fps: float) -> Floats:
    """Blinks (T,): shut in a tenth of a second, open again in two, every few seconds."""
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


def _darts(rng: np.random.Generator, count: int, fps: float) -> Floats:
    """Quick moves of the eyes with rests between, (T,) in −1…1."""
    places = np.zeros(count)
    at = 0
    while at < count:
        stay = max(int(fps * rng.uniform(0.4, 1.6)), 1)
        places[at : at + stay] = np.clip(0.5 * rng.standard_normal(), -1, 1)
        at += stay
    return np.asarray(gaussian_filter1d(places, 0.03 * fps, mode="nearest"), dtype=np.float32)
