"""Reading a video file: chosen frames, upright, one at a time.

Legend: H, W sides of a picture in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pegasus_ray.perception.footage.container import check_container, restrict_ffmpeg
from pegasus_ray.perception.nets.square import Bytes
from pegasus_ray.schemas.errors import PegasusError, Reason

MAX_PIXELS: Final = 36_000_000
"""Of one picture: 8K, 7680 × 4320, has 33 million."""
MAX_FRAMES: Final = 1_000_000
"""Of one video: eleven hours at 25 a second."""
_MIN_FPS: Final = 0.1  # frames per second; rates outside of these bounds are taken for errors in the file
_MAX_FPS: Final = 1000.0
_ASSUMED_FPS: Final = 25.0  # frames per second in place of such an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of a video."""

    index: int  # its number in the video
    time: float  # seconds from the start
    image: Bytes  # (H, W, 3) RGB, upright
    scale: float = 1.0  # pixels of the video's picture for one pixel of the image


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFile:
    """A video file that opens and decodes."""

    path: Path
    fps: float
    frames: int  # how many decode
    announced: int  # how many the file says it has; more than `frames` where it is cut short

    def read(self, indices: Iterable[int], *, longest: int | None = None) -> Iterator[Frame]:
        """Decode frames one after the other; only one of them is in memory at a time.

        Args:
            indices: frame numbers, ascending.
            longest: pixels; pictures with a longer side are reduced by a whole number until no side is longer.

        Raises:
            PegasusError: TRUNCATED where the video ends before the last of them.
        """
        video = _open(self.path)
        at = -1
        try:
            for index in indices:
                while at < index:  # skips without conversion: seeking is not exact in every container
                    if not video.grab():
                        raise PegasusError(Reason.TRUNCATED, f"ends at frame {at + 1}", subject=str(self.path))
                    at += 1
                ok, bgr = video.retrieve()
                if not ok:
                    raise PegasusError(Reason.TRUNCATED, f"frame {index} does not decode", subject=str(self.path))
                stamp = video.get(cv2.CAP_PROP_POS_MSEC) / 1000  # when it is shown, right at a variable rate too
                time = stamp if stamp > 0 else index / self.fps
                small, scale = _reduce(bgr, longest)
                yield Frame(index=int(index), time=time, image=np.ascontiguousarray(small[..., ::-1]), scale=scale)
        finally:
            video.release()


def open_video(path: Path, *, least: int = 1) -> VideoFile:
    """Open a video file and find out how many of its frames decode.

    Args:
        path: the file.
        least: how many frames must decode.

    Raises:
        PegasusError: NOT_FOUND, EMPTY_FILE; NOT_A_VIDEO for what is none, or one too large; where fewer than `least` frames
            decode, TRUNCATED if the file announces more frames than decode, else TOO_FEW_FRAMES.
    """
    subject = str(path)
    if not path.is_file():
        raise PegasusError(Reason.NOT_FOUND, "there is no such file; check the path", subject=subject)
    if path.stat().st_size == 0:
        raise PegasusError(Reason.EMPTY_FILE, "the file is empty; copy it again", subject=subject)
    check_container(path)
    video = _open(path)
    try:
        if not video.isOpened():
            raise _unreadable(path)
        _check_size(video, path)
        if not video.grab():
            raise _unreadable(path)
        fps = float(video.get(cv2.CAP_PROP_FPS))
        announced = max(int(video.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        frames = announced if _decodes_to_the_end(video, announced) else _count_frames(path)
    finally:
        video.release()
    if frames > MAX_FRAMES:
        message = (
            f"has more than {MAX_FRAMES} frames; cut a part out of it: ffmpeg -ss START -t SECONDS -i FILE out.mp4"
        )
        raise PegasusError(Reason.NOT_A_VIDEO, message, subject=subject)
    announced = max(announced, frames)
    if frames < least:
        cut = announced > frames
        raise PegasusError(
            Reason.TRUNCATED if cut else Reason.TOO_FEW_FRAMES,
            f"only {frames} of {announced} frames decode and {least} are needed; "
            + ("copy the file again" if cut else "give a longer video"),
            subject=subject,
        )
    return VideoFile(
        path=path, fps=fps if _MIN_FPS < fps < _MAX_FPS else _ASSUMED_FPS, frames=frames, announced=announced
    )


def _reduce(image: Bytes, longest: int | None) -> tuple[Bytes, float]:
    """An image (H, W, 3) reduced by the least whole number that leaves no side longer, and that number."""
    times = math.ceil(max(image.shape[:2]) / longest) if longest else 1
    if times == 1:
        return image, 1.0
    height, width = image.shape[0] // times, image.shape[1] // times
    cut = image[: height * times, : width * times]
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8), float(times)


def _open(path: Path) -> cv2.VideoCapture:
    restrict_ffmpeg()
    video = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)  # absolute: no name reads as the name of a protocol
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # phones record sideways and say how to rotate
    return video


def _decodes_to_the_end(video: cv2.VideoCapture, announced: int) -> bool:
    """Whether the last announced frame decodes, found without decoding all frames before it."""
    return announced > 0 and video.set(cv2.CAP_PROP_POS_FRAMES, announced - 1) and video.grab() and video.retrieve()[0]


def _count_frames(path: Path) -> int:
    """How many frames decode, by decoding all of them; it stops counting after `MAX_FRAMES`."""
    video = _open(path)
    frames = 0
    while frames <= MAX_FRAMES and video.grab():
        frames += 1
    video.release()
    return frames


def _check_size(video: cv2.VideoCapture, path: Path) -> None:
    """Refuse a video whose header gives pictures too large, before one is decoded. Raises PegasusError NOT_A_VIDEO."""
    width, height = int(video.get(cv2.CAP_PROP_FRAME_WIDTH)), int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        message = f"has pictures of {width}×{height} pixels, more than {MAX_PIXELS}; make them smaller: "
        raise PegasusError(Reason.NOT_A_VIDEO, message + "ffmpeg -i FILE -vf scale=1920:-2 out.mp4", subject=str(path))


def _unreadable(path: Path) -> PegasusError:
    """The error for a file that begins like a video and does not open."""
    message = "begins like a video but does not decode: cut short or in a codec that is not known; copy it again"
    return PegasusError(Reason.TRUNCATED, message, subject=str(path))
