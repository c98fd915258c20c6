"""Writing videos."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.schemas.errors import PegasusError, Reason


def write_video(
    frames: Iterable[npt.NDArray[np.uint8]],  # (H, W, 3) RGB each, of one size
    path: Path,
    fps: float,
) -> int:
    """Write an MP4 (MPEG-4 part 2), whole or not at all.

    Args:
        frames: pictures in order, of which one at a time is held in memory.
        path: the file, replaced if it exists; its folder must exist.
        fps: frames a second.

    Returns:
        How many frames were written.

    Raises:
        PegasusError: TOO_FEW_FRAMES if there are none; BAD_CONFIG if they differ in size, or OpenCV has no encoder.
    """
    count = 0
    with _replacing(path) as temporary:
        writer, shape = None, None
        try:
            for frame in frames:
                if writer is None:
                    writer, shape = _open_writer(temporary, frame, fps, path), frame.shape
                if frame.shape != shape:
                    message = f"frame {count} is {frame.shape}, the first was {shape}; make them one size"
                    raise PegasusError(Reason.BAD_CONFIG, message, subject=str(path))
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
                count += 1
        finally:
            if writer is not None:
                writer.release()
        if count == 0:
            raise PegasusError(Reason.TOO_FEW_FRAMES, "there is no frame to write", subject=str(path))
    return count


def _open_writer(temporary: Path, frame: npt.NDArray[np.uint8], fps: float, path: Path) -> cv2.VideoWriter:
    height, width = frame.shape[:2]
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not writer.isOpened():
        message = (
            "this OpenCV has no MPEG-4 encoder; install the opencv-contrib-python wheel, or write pictures instead"
        )
        raise PegasusError(Reason.BAD_CONFIG, message, subject=str(path))
    return writer


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to: it replaces `path` if the body ends well, and is removed if it raises."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
