"""The one square of a video that a track keeps, in whole pixels of the video.

Legend: T frames, H, W sides of a picture in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from pegasus_ray.perception.nets.square import Bytes, Floats

_USUAL_SIDES: Final = 2.25  # least side of the crop, in sides of the face's box, if the picture has room for it
_MIN_SIDES: Final = 1.7  # least side in any case: if need be the crop reaches beyond the picture
_MAX_SIDES: Final = 3.5  # greatest side: a head that moves farther leaves the crop in some frames
_ROOM_BESIDE: Final = 0.35  # room for the ears, in sides of the face's box
_ROOM_ABOVE: Final = 0.5  # for hair
_ROOM_BELOW: Final = 0.55  # for shoulders


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A square of a picture; it may reach beyond the picture."""

    x: int  # first column, pixels of the picture
    y: int  # first row
    side: int

    def take(self, image: Bytes) -> Bytes:
        """The square (side, side, 3) out of an image (H, W, 3); beyond the image its border pixels are repeated."""
        height, width = image.shape[:2]
        columns = np.clip(np.arange(self.x, self.x + self.side), 0, width - 1)
        rows = np.clip(np.arange(self.y, self.y + self.side), 0, height - 1)
        return np.ascontiguousarray(image[rows[:, None], columns])

    def fractions(self, points: Floats) -> Floats:
        """Points (…, 2) in pixels of the picture as fractions of the square's side."""
        return np.asarray((points - np.array([self.x, self.y])) / self.side, dtype=np.float32)


def choose_crop(boxes: Floats, width: int, height: int) -> Crop:
    """Choose one square for all frames of a video that holds the head wherever it moves.

    Args:
        boxes: lowest and highest x, y of the landmarks in each frame, (T, 2, 2) pixels.
        width: of the picture in pixels.
        height: of the picture in pixels.
    """
    face = float(np.median((boxes[:, 1] - boxes[:, 0]).max(-1)))
    (left, top), (right, bottom) = np.percentile(boxes[:, 0], 2, axis=0), np.percentile(boxes[:, 1], 98, axis=0)
    left, right = left - _ROOM_BESIDE * face, right + _ROOM_BESIDE * face
    top, bottom = top - _ROOM_ABOVE * face, bottom + _ROOM_BELOW * face
    wanted = min(max(right - left, bottom - top, _USUAL_SIDES * face), _MAX_SIDES * face)
    side = round(min(wanted, max(min(width, height), _MIN_SIDES * face)))
    return Crop(
        x=_first_pixel((left + right) / 2, side, width),
        y=_first_pixel((top + bottom) / 2, side, height),
        side=side,
    )


def resize(image: Bytes, size: int) -> Bytes:
    """A square image (W, W, …) at another resolution: area means where it shrinks, cubic interpolation where it grows."""
    if image.shape[0] == size:
        return image
    shrinks = image.shape[0] > size
    return np.asarray(
        cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC), dtype=np.uint8
    )


def resize_matted(image: Bytes, matte: Bytes, size: int) -> tuple[Bytes, Bytes]:
    """An image (W, W, 3) and its matte (W, W) at another resolution, with no background mixed into the person's colour.

    Colours are averaged with their opacity as weights. So the result over any plain colour is what the finer picture over
    that colour would have become.
    """
    share = matte.astype(np.float32)[..., None] / 255
    method = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    weighed = cv2.resize(np.concatenate([image * share, share], -1), (size, size), interpolation=method)
    opacity = np.clip(weighed[..., 3:], 0, 1)
    person = np.clip(weighed[..., :3] / np.maximum(opacity, 1 / 255), 0, 255)
    whole = np.round(opacity[..., 0] * 255).astype(np.uint8)
    return np.where(whole[..., None] > 0, np.round(person).astype(np.uint8), resize(image, size)), whole


def _first_pixel(middle: float, side: int, length: int) -> int:
    """The first pixel of a side around `middle`, moved into the picture if the side fits into it."""
    begin = round(middle - side / 2)
    return min(max(begin, 0), length - side) if side <= length else min(max(begin, length - side), 0)
