"""Rendering a person's video, as frames or as a track with exact truth.

Legend: T frames, S side in pixels.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import numpy as np
import torch

from pegasus_ray.library.track import Track
from pegasus_ray.studio.arrays import Bytes
from pegasus_ray.studio.film import shade
from pegasus_ray.studio.film.frame import WALL, Frame, PersonRenderer
from pegasus_ray.studio.identity import studio_rig
from pegasus_ray.studio.motion import Motion
from pegasus_ray.studio.person import Colour, Person

PICTURE_VERSION: Final = 5
"""Part of the key of a studio track. Raise it when the same person and motion come to be rendered to other pixels."""


def render_frames(
    person: Person, motion: Motion, *, size: int = 256, wall: Colour = WALL, detail: float = 1.0
) -> Iterator[Frame]:
    """The frames of a person's video one at a time, with depth and normals beside what a track keeps.

    The same arguments give the same bits. No frame depends on another.

    Args:
        person: who.
        motion: what they do, and the camera.
        size: side of the frames in pixels.
        wall: colour of the background, sRGB.
        detail: share of the ribbons of hair; less is faster and coarser.
    """
    renderer = PersonRenderer.of(person, size, wall=wall, detail=detail)
    for number in range(len(motion)):
        yield renderer.render(motion, number)


def render_track(person: Person, motion: Motion, *, size: int = 256, wall: Colour = WALL, detail: float = 1.0) -> Track:
    """A person's video as a track with exact truth; the arguments are those of `render_frames`."""
    return track_of_frames(person, motion, list(render_frames(person, motion, size=size, wall=wall, detail=detail)))


def track_of_frames(person: Person, motion: Motion, frames: Sequence[Frame]) -> Track:
    """All frames of a motion as a track. Its parameters are those that were rendered.

    As in a track of a video, the soft edge holds the person's own colour: composited on white, the track looks as if it had been
    filmed before white.
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


def restore_wall(track: Track, wall: Colour = WALL) -> Bytes:
    """The frames (T, S, S, 3) as they were filmed: the wall's share is put back into the soft edge of a studio track."""
    share = track.mattes[..., None] / np.float32(255)
    behind = 255 * shade.tone_map(shade.wall_light(track.size, wall))
    return np.round(track.images * share + behind * (1 - share)).astype(np.uint8)


def render_pool(workers: int) -> ProcessPoolExecutor:
    """Processes to render in, each with one thread; a context manager."""
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,))
