"""Reading a video file: chosen frames, upright, one at a time.

Legend: H, W sides of a picture in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pegasus_ray.perception.footage.container import check_container
from pegasus_ray.perception.footage.decoder_process import DecoderProcess, Limits
from pegasus_ray.perception.nets.square import Bytes
from pegasus_ray.schemas.errors import PegasusError, Reason

MAX_PIXELS: Final = 36_000_000
"""Of one picture: 8K, 7680 × 4320, has 33 million."""
MAX_FRAMES: Final = 1_000_000
"""Of one video: eleven hours at 25 a second."""
LIMITS: Final = Limits()
"""Of the process that decodes a video."""
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
        """Decode frames one after the other, in a process that lives as long as the iterator; few are in memory at a time.

        Args:
            indices: frame numbers, ascending.
            longest: pixels; pictures with a longer side are reduced by a whole number until no side is longer.

        Raises:
            PegasusError: TRUNCATED where the video ends before the last of them; NOT_A_VIDEO where it crashes its decoder or
                exceeds `LIMITS` or `MAX_PIXELS`; OUT_OF_MEMORY where the machine has ended the decoder.
        """
        with DecoderProcess(self.path, pixels=MAX_PIXELS, longest=longest, limits=LIMITS) as decoder:
            for picture in decoder.pictures(indices):
                time = picture.shown if picture.shown > 0 else picture.index / self.fps
                yield Frame(index=picture.index, time=time, image=picture.image, scale=float(picture.times))


def open_video(path: Path, *, least: int = 1) -> VideoFile:
    """Open a video file and find out how many of its frames decode.

    Args:
        path: the file.
        least: how many frames must decode.

    Raises:
        PegasusError: NOT_FOUND, EMPTY_FILE; NOT_A_VIDEO for what is none, or one too large, and where it crashes its decoder
            or exceeds `LIMITS`; where fewer than `least` frames decode, TRUNCATED if the file announces more frames than
            decode, else TOO_FEW_FRAMES; OUT_OF_MEMORY where the machine has ended the decoder.
    """
    subject = str(path)
    if not path.is_file():
        raise PegasusError(Reason.NOT_FOUND, "there is no such file; check the path", subject=subject)
    if path.stat().st_size == 0:
        raise PegasusError(Reason.EMPTY_FILE, "the file is empty; copy it again", subject=subject)
    check_container(path)
    with DecoderProcess(path, pixels=MAX_PIXELS, limits=LIMITS) as decoder:
        size = decoder.size()
        if size is None:
            raise _unreadable(path)
        _check_size(*size, path)
        count = decoder.count(MAX_FRAMES)
    if count is None:
        raise _unreadable(path)
    frames, fps = count.frames, count.fps
    if frames > MAX_FRAMES:
        message = (
            f"has more than {MAX_FRAMES} frames; cut a part out of it: ffmpeg -ss START -t SECONDS -i FILE out.mp4"
        )
        raise PegasusError(Reason.NOT_A_VIDEO, message, subject=subject)
    announced = max(count.announced, frames)
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


def _check_size(height: int, width: int, path: Path) -> None:
    """Refuse a video whose header gives pictures too large, before one is decoded. Raises PegasusError NOT_A_VIDEO."""
    if width * height > MAX_PIXELS:
        message = f"has pictures of {width}×{height} pixels, more than {MAX_PIXELS}; make them smaller: "
        raise PegasusError(Reason.NOT_A_VIDEO, message + "ffmpeg -i FILE -vf scale=1920:-2 out.mp4", subject=str(path))


def _unreadable(path: Path) -> PegasusError:
    """The error for a file that begins like a video and does not open."""
    message = "begins like a video but does not decode: cut short or in a codec that is not known; copy it again"
    return PegasusError(Reason.TRUNCATED, message, subject=str(path))
