"""Films a person: a performance rendered as a track with exact truth.

Frames do not depend on one another: a crew of processes films them side by side, with the same bits whatever their number.

Legend: T frames, S side in pixels.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import lru_cache
from typing import Final

import numpy as np
import torch

from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.studio.film import shade
from pegasus_ray.studio.film.shot import WALL, Frame, Studio
from pegasus_ray.studio.motion import Motion
from pegasus_ray.studio.people import Colour, Person, studio_rig

LOOK: Final = 5
"""Part of the key of a studio track: raise it when the same person and motion come to look otherwise."""

TAKE: Final = 8  # frames that a member of a crew films at a time


def render(
    person: Person,
    motion: Motion,
    *,
    size: int = 256,
    wall: Colour = WALL,
    detail: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Track:
    """A person's video as a track with exact truth; the same arguments give the same bits.

    Args:
        person: who.
        motion: what they do, and the camera.
        size: side of the frames in pixels.
        wall: colour of the background, sRGB.
        detail: share of the ribbons of hair; less is faster and coarser.
        progress: told (frames done, frames in all).
    """
    frames = []
    for frame in film(person, motion, size=size, wall=wall, detail=detail):
        frames.append(frame)
        if progress:
            progress(len(frames), len(motion))
    return as_track(person, motion, frames)


def as_track(person: Person, motion: Motion, frames: Sequence[Frame]) -> Track:
    """The frames of `film`, all of them, as a track whose parameters are those that were rendered.

    As in a track of a video, the soft edge holds the person's own colour: on white it is as if filmed before white.
    """
    count = len(frames)
    return Track(
        source=person.name,
        rig=studio_rig().name,
        images=np.stack([frame.own for frame in frames]),
        mattes=np.stack([frame.matte for frame in frames]),
        parts=np.stack([frame.parts for frame in frames]),
        landmarks=np.stack([frame.landmarks for frame in frames]),
        blendshapes=motion.expression.numpy(),
        shape=np.asarray(person.shape, dtype=np.float32),
        expression=motion.expression.numpy(),
        head=motion.head.numpy(),
        torso=motion.torso.numpy(),
        jaw=np.zeros((count, 3), np.float32),
        eyes=np.zeros((count, 6), np.float32),
        camera=np.tile(motion.camera.numpy(), (count, 1)),
        times=motion.times,
        indices=np.arange(count, dtype=np.int32),
        quality=np.ones(count, np.float32),
    )


def as_filmed(track: Track, wall: Colour = WALL) -> Bytes:
    """A studio track's frames (T, S, S, 3) before the wall that they were filmed before, whose share the soft edge lacks."""
    share = track.mattes[..., None] / np.float32(255)
    behind = 255 * shade.develop(shade.background(track.size, wall))
    return np.round(track.images * share + behind * (1 - share)).astype(np.uint8)


def film(
    person: Person,
    motion: Motion,
    *,
    size: int = 256,
    wall: Colour = WALL,
    detail: float = 1.0,
    crew: Executor | None = None,
) -> Iterator[Frame]:
    """The frames of a person's video, one at a time, with depth and normals beside what a track keeps.

    Args:
        person: who.
        motion: what they do, and the camera.
        size: side of the frames in pixels.
        wall: colour of the background, sRGB.
        detail: share of the ribbons of hair.
        crew: who films (`crew_of`); without one, this process.
    """
    if crew is None:
        studio = Studio.of(person, size, wall=wall, detail=detail)
        yield from (studio.frame(motion, number) for number in range(len(motion)))
        return
    takes = [motion.select(range(start, min(start + TAKE, len(motion)))) for start in range(0, len(motion), TAKE)]
    for taken in [crew.submit(shoot, person, take, size, wall, detail) for take in takes]:
        yield from taken.result()


def crew_of(workers: int) -> ProcessPoolExecutor:
    """Processes that film: a context manager."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))


def shoot(person: Person, motion: Motion, size: int, wall: Colour = WALL, detail: float = 1.0) -> list[Frame]:
    """A whole motion at once, by a member of a crew, who keeps the last person ready."""
    studio = _ready(person, size, wall, detail)
    return [studio.frame(motion, number) for number in range(len(motion))]


@lru_cache(maxsize=1)
def _ready(person: Person, size: int, wall: Colour, detail: float) -> Studio:
    return Studio.of(person, size, wall=wall, detail=detail)
