"""A track in memory: one video after perception, as arrays.

Legend: T frames, S side of the square frame in pixels, K shape axes, E expressions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from pegasus_ray.library.performance import Floats, Performance

Bytes = npt.NDArray[np.uint8]

LANDMARKS = 478
"""Number of landmarks of a face: 468 of the skin, 10 of the irises."""
BLENDSHAPES = 52
"""Number of blendshape scores of the landmark model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Track(Performance):
    """One video after perception: frames in one fixed square crop, mattes, parts, landmarks, rig parameters, camera.

    Image coordinates are fractions of the crop's side, x right, y down, (0, 0) the corner of the first pixel.
    """

    source: str  # what the frames came from: a file's name, not its path
    rig: str  # the name of the rig that the parameters belong to
    images: Bytes  # (T, S, S, 3) RGB, with the video's own background
    mattes: Bytes  # (T, S, S) opacity of the person, 0–255
    parts: Bytes  # (T, S, S) `Label`
    landmarks: Floats  # (T, 478, 2) fractions of the side
    blendshapes: Floats  # (T, 52) scores of the landmark model in the rig's order of expressions, 0–1
    shape: Floats  # (K,) identity of the person
    times: Floats  # (T,) seconds from the start of the video
    indices: npt.NDArray[np.int32]  # (T,) the frame's number in the video
    quality: Floats  # (T,) 0–1
    identity: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    """(D,) whose face it is, by the identity model among the inputs; (0,) where none has looked."""

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def size(self) -> int:
        """Side of the frames in pixels."""
        return int(self.images.shape[1])

    def select(self, frames: Sequence[int] | npt.NDArray[np.int64] | slice) -> Track:
        """The same track with only the frames named, in that order."""
        chosen = frames if isinstance(frames, slice) else np.asarray(frames, dtype=np.int64)
        per_frame = {
            own.name: getattr(self, own.name)[chosen]
            for own in fields(self)
            if own.name not in ("source", "rig", "shape", "identity")
        }
        return replace(self, **per_frame)

    def held_out(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Frame numbers to fit, and the last tenth (one at least), which no fit may see."""
        return held_out(len(self))

    def on_white(self) -> Bytes:
        """The person on a white background, (T, S, S, 3) RGB."""
        matte = self.mattes[..., None].astype(np.uint16)
        blended = (self.images * matte + 255 * (255 - matte) + 127) // 255
        return blended.astype(np.uint8)


def held_out(length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """See `Track.held_out`: the frame numbers of a track of so many frames."""
    last = max(length // 10, 1)
    frames = np.arange(length)
    return frames[:-last], frames[-last:]
