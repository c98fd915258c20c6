"""Pictures as lossless PNG bytes, many at once.

Legend: T frames, S side in pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.schemas.errors import PegasusError, Reason

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
DEPTH_STEP_METRES = 1e-4
"""One step of a 16-bit depth picture. The value 0 means that nothing is there; the farthest depth is 6.55 m."""

MAX_SIDE: Final = 4096
"""Pixels of a side of a picture; tracks have 2048 at most."""
UNREADABLE: Final = "a frame's picture cannot be decoded; `pegasus verify` finds the file"

_THREADS = 2  # OpenCV releases Python's global lock while it encodes and decodes
_PNG_SETTINGS = (cv2.IMWRITE_PNG_COMPRESSION, 3)
_PNG_HEADER: Final = struct.Struct(">16sII5B")
"""Signature and the beginning of IHDR, width, height, bits, colour type, and three settings."""
_PNG_START: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
_CHANNELS: Final = {0: 1, 2: 3}  # by PNG's colour type: grey, RGB
_MOST_SHRINKING: Final = 1100
"""Deflate, by which a PNG is compressed, makes nothing smaller than to 1/1032."""


def encode_png(picture: Picture) -> bytes:
    """PNG of a picture: (S, S, 3) RGB, or (S, S) of 8 or 16 bits.

    Raises:
        PegasusError: INTERNAL for any other shape or type.
    """
    ordered = picture[..., ::-1] if picture.ndim == 3 else picture
    done, data = cv2.imencode(".png", np.ascontiguousarray(ordered), _PNG_SETTINGS)
    if not done:
        raise PegasusError(Reason.INTERNAL, f"a picture of shape {picture.shape} and type {picture.dtype} is no PNG")
    return bytes(data)


@dataclass(frozen=True, slots=True)
class PixelForm:
    """What a pixel is made of."""

    channels: int
    bits: int  # of a channel

    def __str__(self) -> str:
        return f"{self.channels} × {self.bits} bits"


GREY: Final = PixelForm(1, 8)
DEPTH: Final = PixelForm(1, 16)
RGB: Final = PixelForm(3, 8)


@dataclass(frozen=True, slots=True)
class PngHeader:
    """What the first bytes of a PNG say about its picture."""

    width: int  # pixels
    height: int  # pixels
    form: PixelForm

    def __str__(self) -> str:
        return f"{self.width}×{self.height} pixels of {self.form}"

    @property
    def size(self) -> int:
        """Bytes of the decoded picture."""
        return self.width * self.height * self.form.channels * self.form.bits // 8


def read_png_header(data: bytes | None, subject: str = "") -> PngHeader:
    """The header of PNG bytes, which need not be trusted.

    Raises:
        PegasusError: CORRUPT unless it is one that `encode_png` writes, of a picture that is no larger than any of ours and
            can be in so few bytes.
    """
    head = data[: _PNG_HEADER.size] if data else b""
    if len(head) < _PNG_HEADER.size:
        raise PegasusError(Reason.CORRUPT, UNREADABLE, subject=subject)
    start, width, height, bits, colour, *others = _PNG_HEADER.unpack(head)
    form = PixelForm(_CHANNELS.get(colour, 0), bits)
    if start != _PNG_START or form not in (GREY, DEPTH, RGB) or others != [0, 0, 0]:
        raise PegasusError(Reason.CORRUPT, UNREADABLE, subject=subject)
    header = PngHeader(width, height, form)
    if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE or header.size > _MOST_SHRINKING * len(data or b""):
        message = f"a frame's picture says it is {header}, which it cannot be; `pegasus verify` finds the file"
        raise PegasusError(Reason.CORRUPT, message, subject=subject)
    return header


def decode_png(data: bytes | None, subject: str = "") -> Picture:
    """The picture in PNG bytes, as `encode_png` took it.

    Raises:
        PegasusError: CORRUPT if the bytes are no picture, or not one of ours (see `read_png_header`).
    """
    header = read_png_header(data, subject)
    picture = cv2.imdecode(np.frombuffer(data or b"", np.uint8), cv2.IMREAD_UNCHANGED)
    shape = (header.height, header.width) + ((3,) if header.form.channels == 3 else ())
    if picture is None or picture.shape != shape or picture.itemsize * 8 != header.form.bits:
        raise PegasusError(Reason.CORRUPT, UNREADABLE, subject=subject)
    decoded: Picture = np.ascontiguousarray(picture[..., ::-1]) if picture.ndim == 3 else picture
    return decoded


def encode_all(pictures: Picture) -> list[bytes]:
    """PNG of each of T pictures, (T, S, S) or (T, S, S, 3)."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(encode_png, pictures))


def decode_all(data: Sequence[bytes], subject: str = "") -> Picture:
    """T pictures of the same size, (T, S, S) or (T, S, S, 3); at least one. Raises as `decode_png`."""
    with ThreadPoolExecutor(_THREADS) as pool:
        pictures = list(pool.map(lambda png: decode_png(png, subject), data))
    stacked: Picture = np.stack(pictures)  # type: ignore[assignment]
    return stacked


def depth_to_steps(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """Depth in metres to 16-bit steps of 0.1 mm."""
    steps: npt.NDArray[np.uint16] = np.clip(np.rint(depth / DEPTH_STEP_METRES), 0, 65535).astype(np.uint16)
    return steps


def steps_to_depth(steps: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """16-bit steps of 0.1 mm to metres."""
    return (steps * np.float32(DEPTH_STEP_METRES)).astype(np.float32)


def normals_to_rgb(normals: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Unit normals (…, 3) to RGB.

    A component of −1 becomes 0 and 1 becomes 254. The zero vector (nothing there) becomes the grey 127, so that
    `rgb / 127 − 1` gives exactly zero again.
    """
    rgb: npt.NDArray[np.uint8] = np.rint(127.0 * (np.clip(normals, -1.0, 1.0) + 1.0)).astype(np.uint8)
    return rgb
