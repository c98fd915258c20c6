"""Reading a video: frames evenly spaced over the whole clip, upright, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.nets.square import Bytes
from pegasus_ray.schemas.errors import PegasusError, Reason

_SIGNATURES = ((4, b"ftyp"), (0, b"\x1aE\xdf\xa3"), (0, b"RIFF"), (0, b"OggS"), (4, b"moov"), (4, b"mdat"))
"""(offset, bytes) at the head of the containers: mp4 and mov, Matroska and webm, avi, ogg, old mov."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of a video."""

    index: int  # its number in the video
    time: float  # seconds from the start
    image: Bytes  # (H, W, 3) RGB, upright
    scale: float = 1.0  # pixels of the video's picture for one of the image


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A video that opens and decodes."""

    path: Path
    fps: float
    frames: int  # how many decode
    announced: int  # how many the file says it has; more than `frames` where it is cut short

    def spread(self, count: int) -> npt.NDArray[np.int32]:
        """At most `count` frame numbers, evenly spaced over the whole clip, the first and the last among them."""
        count = max(min(count, self.frames), 1)
        return np.round(np.linspace(0, self.frames - 1, count)).astype(np.int32)

    def read(self, indices: Iterable[int], *, longest: int | None = None) -> Iterator[Frame]:
        """Decode the frames of those ascending numbers; only one of them is in memory at a time.

        Args:
            indices: frame numbers.
            longest: pixels; pictures with a longer side are divided by a whole number so that they have none.

        Raises:
            PegasusError: TRUNCATED where the video ends before the last of them.
        """
        video = _open(self.path)
        at = -1
        try:
            for index in indices:
                while at < index:  # seeking is not exact in every container; skipping without conversion is
                    if not video.grab():
                        raise PegasusError(Reason.TRUNCATED, f"ends at frame {at + 1}", subject=str(self.path))
                    at += 1
                ok, bgr = video.retrieve()
                if not ok:
                    raise PegasusError(Reason.TRUNCATED, f"frame {index} does not decode", subject=str(self.path))
                stamp = video.get(cv2.CAP_PROP_POS_MSEC) / 1000  # of its presentation, at a variable rate too
                time = stamp if stamp > 0 else index / self.fps
                small, scale = _shrunk(bgr, longest)
                yield Frame(index=int(index), time=time, image=np.ascontiguousarray(small[..., ::-1]), scale=scale)
        finally:
            video.release()


def open_clip(path: Path, *, least: int = 1) -> Clip:
    """Look into a video file.

    Args:
        path: the file.
        least: how many frames must decode.

    Raises:
        PegasusError: NOT_FOUND, EMPTY_FILE, NOT_A_VIDEO; TRUNCATED or TOO_FEW_FRAMES where fewer than `least` decode,
            in a file that announces more or that does not.
    """
    subject = str(path)
    if not path.is_file():
        raise PegasusError(Reason.NOT_FOUND, "there is no such file; check the path", subject=subject)
    if path.stat().st_size == 0:
        raise PegasusError(Reason.EMPTY_FILE, "the file is empty; copy it again", subject=subject)
    video = _open(path)
    try:
        if not video.isOpened() or not video.grab():
            raise _unreadable(path)
        fps = float(video.get(cv2.CAP_PROP_FPS))
        announced = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        frames = announced if _reaches(video, announced) else _count(path)
    finally:
        video.release()
    clip = Clip(path=path, fps=fps if 0.1 < fps < 1000 else 25.0, frames=frames, announced=max(announced, frames))
    if clip.frames < least:
        cut = clip.announced > clip.frames
        raise PegasusError(
            Reason.TRUNCATED if cut else Reason.TOO_FEW_FRAMES,
            f"only {clip.frames} of {clip.announced} frames decode and {least} are needed; "
            + ("copy the file again" if cut else "give a longer video"),
            subject=subject,
        )
    return clip


def _shrunk(image: Bytes, longest: int | None) -> tuple[Bytes, float]:
    """An image divided by the least whole number that leaves no side longer, and that number."""
    times = math.ceil(max(image.shape[:2]) / longest) if longest else 1
    if times == 1:
        return image, 1.0
    height, width = image.shape[0] // times, image.shape[1] // times
    cut = image[: height * times, : width * times]
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8), float(times)


def _open(path: Path) -> cv2.VideoCapture:
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # telephones write how the picture must be turned
    return video


def _reaches(video: cv2.VideoCapture, announced: int) -> bool:
    """Whether the last announced frame is there, without decoding all before it."""
    return announced > 0 and video.set(cv2.CAP_PROP_POS_FRAMES, announced - 1) and video.grab() and video.retrieve()[0]


def _count(path: Path) -> int:
    video = _open(path)
    frames = 0
    while video.grab():
        frames += 1
    video.release()
    return frames


def _unreadable(path: Path) -> PegasusError:
    with path.open("rb") as stream:
        head = stream.read(16)
    if any(head[at : at + len(mark)] == mark for at, mark in _SIGNATURES):
        message = "begins like a video but does not decode: cut short or in a codec that is not known; copy it again"
        return PegasusError(Reason.TRUNCATED, message, subject=str(path))
    return PegasusError(Reason.NOT_A_VIDEO, "is not a video, whatever its name says", subject=str(path))
