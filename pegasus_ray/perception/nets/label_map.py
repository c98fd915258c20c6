"""Part maps: a class (`Label`) for each pixel of a frame, resampled, and made to agree with the matte and the landmarks.

Legend: W side of the frame in pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from pegasus_ray.perception.nets import face_regions as regions
from pegasus_ray.perception.nets.mesh_topology import POLYGONS
from pegasus_ray.perception.nets.square import Bytes, Floats, Square
from pegasus_ray.schemas.parts import Label

_SQUARE_SIDES: Final = 2.1  # side of a parsing network's square / side of the landmarks' box
_RAISED_SIDES: Final = 0.08  # how far up that square is moved, in its own sides: hair needs more room than the chin
_MIN_BOX_PIXELS: Final = 4.0  # least side of the landmarks' box, also where all landmarks are one point
_BROWS: Final = (Label.BROW_LEFT, Label.BROW_RIGHT)
_EYES: Final = (Label.EYE_LEFT, Label.EYE_RIGHT)
_EARS: Final = (Label.EAR_LEFT, Label.EAR_RIGHT)
_OPEN_EYE: Final = 0.12  # `openness` above which an eye is open
_MISSED_SHARE: Final = 0.25  # of a brow or an eye: where the network saw less, it missed it


def portrait_square(points: Floats) -> Square:
    """The square around a face (478, 2) in the framing of CelebAMask-HQ's portraits, which the networks were trained on."""
    low, high = points.min(0), points.max(0)
    side = _SQUARE_SIDES * max(float((high - low).max()), _MIN_BOX_PIXELS)
    x, y = (low + high) / 2
    return Square(x=float(x), y=float(y) - _RAISED_SIDES * side, side=side)


def onto_frame(seen: Bytes, square: Square, points: Floats, matte: Bytes) -> Bytes:
    """Labels of a drawn square carried to the frame (W, W), and made to agree with its matte and landmarks.

    Args:
        seen: labels as the network saw them in the square.
        square: where the square lies in the frame.
        points: the face's landmarks, (478, 2) pixels.
        matte: opacity of the person, (W, W).
    """
    labels = fill_matte(_resample(seen, square, matte.shape[0]), matte)
    return name_sides(_add_missed_eyes(labels, points), points)


def name_sides(labels: Bytes, points: Floats) -> Bytes:
    """Labels (W, W) whose brows, eyes and ears are called left or right by the side of the face that they lie on."""
    _, across = regions.coordinates(labels.shape[0], regions.face_placement(points))
    result = labels.copy()
    for left, right in (_BROWS, _EYES, _EARS):
        either = (labels == left) | (labels == right)
        result[either] = np.where(across < 0, left, right)[either]
    return result


def fill_matte(labels: Bytes, matte: Bytes) -> Bytes:
    """Labels (W, W) that agree with the matte: background outside; inside, the nearest label where there was none."""
    person = matte > 127
    known = person & (labels != Label.BACKGROUND)
    if not known.any():
        return np.where(person, np.uint8(Label.SKIN), np.uint8(Label.BACKGROUND)).astype(np.uint8)
    _, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    names = np.zeros(int(nearest.max()) + 1, np.uint8)
    names[nearest[known]] = labels[known]
    return np.where(person, names[nearest], np.uint8(Label.BACKGROUND)).astype(np.uint8)


def resize_labels(labels: Bytes, size: int) -> Bytes:
    """Labels (W, W) at another resolution, (size, size): the class that covers most of each pixel."""
    if labels.shape[0] == size:
        return labels
    return _resample(labels, Square(x=size / 2, y=size / 2, side=size), size, edge=cv2.BORDER_REPLICATE)


def _add_missed_eyes(labels: Bytes, points: Floats) -> Bytes:
    """Labels with the brows and the open eyes that the network missed, as on blurred frames where it saw skin there."""
    result = labels.copy()
    for pair in (_BROWS, _EYES):
        for side in pair:
            indices = POLYGONS[side][0]
            inside = regions.polygon(points, indices, labels.shape[0])
            seen = np.isin(labels[inside], pair).mean() if inside.any() else 1.0
            visible = pair is not _EYES or regions.openness(points, indices) > _OPEN_EYE
            if seen < _MISSED_SHARE and visible:
                result[inside & (labels == Label.SKIN)] = side
    return result


def _resample(seen: Bytes, square: Square, size: int, *, edge: int = cv2.BORDER_CONSTANT) -> Bytes:
    """Labels of a drawn square, carried to the frame (size, size): the class that covers most of each pixel."""
    side = seen.shape[0]
    scale = square.side / side  # frame pixels a pixel of the square
    matrix = np.array([[scale, 0, square.x - square.side / 2], [0, scale, square.y - square.side / 2]])
    matrix[:, 2] += 0.5 * scale - 0.5  # OpenCV counts from pixel centres
    best = np.zeros((size, size), np.float32)
    labels = np.zeros((size, size), np.uint8)
    for label in np.unique(seen):
        share = cv2.GaussianBlur((seen == label).astype(np.float32), (0, 0), max(0.5 / scale, 0.6))
        share = cv2.warpAffine(share, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=edge)
        labels[share > best] = label
        best = np.maximum(best, share)
    return labels
