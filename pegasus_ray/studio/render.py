"""Films a person: a performance rendered as a track with exact truth.

Legend: T frames, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from pegasus_ray.library.track import Track
from pegasus_ray.studio.motion import Motion
from pegasus_ray.studio.people import Colour, Person, studio_rig
from pegasus_ray.studio.shot import WALL, Frame, Studio


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
    """The frames of `film`, all of them, as a track whose parameters are those that were rendered."""
    count = len(frames)
    return Track(
        source=person.name,
        rig=studio_rig().name,
        images=np.stack([frame.image for frame in frames]),
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


def film(
    person: Person, motion: Motion, *, size: int = 256, wall: Colour = WALL, detail: float = 1.0
) -> Iterator[Frame]:
    """The frames of a person's video, one at a time, with depth and normals beside what a track keeps."""
    studio = Studio.of(person, size, wall=wall, detail=detail)
    for number in range(len(motion)):
        yield studio.frame(motion, number)
