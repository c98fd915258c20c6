"""Pictures as lossless PNG bytes, many at once.

Legend: T frames, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.schemas.errors import PegasusError, Reason

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
DEPTH_STEP_METRES = 1e-4
"""One step of a 16-bit depth picture. The value 0 means that nothing is there; the farthest depth is 6.55 m."""

_THREADS = 2  # OpenCV releases Python's global lock while it encodes and decodes
_PNG_SETTINGS = (cv2.IMWRITE_PNG_COMPRESSION, 3)


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


def decode_png(data: bytes) -> Picture:
    """The picture in PNG bytes, as `encode_png` took it.

    Raises:
        PegasusError: CORRUPT if the bytes are no picture.
    """
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if picture is None:
        raise PegasusError(Reason.CORRUPT, "a frame's picture cannot be decoded; `pegasus verify` finds the file")
    decoded: Picture = np.ascontiguousarray(picture[..., ::-1]) if picture.ndim == 3 else picture
    return decoded


def encode_all(pictures: Picture) -> list[bytes]:
    """PNG of each of T pictures, (T, S, S) or (T, S, S, 3)."""
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(encode_png, pictures))


def decode_all(data: Sequence[bytes]) -> Picture:
    """T pictures of the same size, (T, S, S) or (T, S, S, 3); at least one."""
    with ThreadPoolExecutor(_THREADS) as pool:
        stacked: Picture = np.stack(list(pool.map(decode_png, data)))  # type: ignore[assignment]
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
