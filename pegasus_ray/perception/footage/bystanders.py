"""Takes other people in the picture out of a person's matte.

Legend: W side of the frame in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from pegasus_ray.perception.nets.square import Bytes, Floats

_MIN_SOLID_OPACITY: Final = 76  # of 255: pixels more opaque than this connect the pieces of a person


def without_bystanders(
    matte: Bytes,  # (W, W)
    box: Floats,  # (2, 2) of the person's face: lowest and highest x, y in pixels
    others: Sequence[Floats],  # (2, 2) each, of the other faces
) -> Bytes:
    """The matte (W, W) of the person alone: the piece that is connected to the face and nearer to it than to other faces.

    Two people who touch are parted where a pixel is as far from the one as from the other. Its distance from a person is
    that from the line from the middle of the face straight down, in widths of that face.
    """
    size = len(matte)
    own = matte.copy()
    if others:
        here = _distance_from(size, box)
        for other in others:
            own[_distance_from(size, other) < here] = 0
    pieces = cv2.connectedComponents((own > _MIN_SOLID_OPACITY).astype(np.uint8))[1]
    (left, top), (right, bottom) = np.clip(np.round(box), 0, size - 1).astype(int)
    face = pieces[top : bottom + 1, left : right + 1]
    if not face.any():
        return own
    person = (pieces == int(np.bincount(face[face > 0]).argmax())).astype(np.uint8)
    near = cv2.dilate(person, np.ones((3, 3), np.uint8)) > 0
    return np.where((own > _MIN_SOLID_OPACITY) & ~near, np.uint8(0), own).astype(np.uint8)


def _distance_from(size: int, box: Floats) -> Floats:
    """Distance (W, W) of each pixel from the line that runs from the middle of a face straight down, in its widths."""
    (left, top), (right, bottom) = box
    centres = np.arange(size, dtype=np.float32) + 0.5
    x, y = np.meshgrid(centres - (left + right) / 2, centres - (top + bottom) / 2)
    above = np.minimum(y, 0)
    return np.asarray(np.hypot(x, above) / max(float(right - left), 1.0), dtype=np.float32)
