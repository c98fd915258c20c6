"""Parts of a face: a class (`Label`) for each pixel of a frame.

Two ways behind one protocol: a segmentation net, and where its file is missing, polygons of landmarks with the matte.
Legend: W side of the frame in pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets.files import available, path_of
from pegasus_ray.perception.nets import face_regions as regions
from pegasus_ray.perception.nets.net import Net
from pegasus_ray.perception.nets.square import Bytes, Floats, Square
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Label

PARSER_MODEL = "bisenetv2_celebamaskhq_448.tflite"
HAIR_MODEL = "hair_segmentation.tflite"
SEGFORMER_FILES = ("segformer-face-parsing/config.json", "segformer-face-parsing/model.safetensors")

_REACH = 2.1  # side of a parsing net's square / side of the landmarks' box
_LEAST = 4.0  # pixels of that box, also where all landmarks are one point
_MIRRORED = (
    (Label.BROW_LEFT, Label.BROW_RIGHT),
    (Label.EYE_LEFT, Label.EYE_RIGHT),
    (Label.EAR_LEFT, Label.EAR_RIGHT),
)


class Parser(Protocol):
    """Says which part of the face each pixel shows."""

    def __call__(self, rgb: Bytes, points: Floats, matte: Bytes) -> Bytes:
        """Labels (W, W) of a frame.

        Args:
            rgb: the frame, (W, W, 3).
            points: the face's landmarks, (478, 2) pixels.
            matte: opacity of the person, (W, W).
        """
        ...


def parser_of(name: str, *, threads: int = 2) -> Parser:
    """The parser of that name: `bisenet`, `segformer`, `landmarks`, or `auto`, the best of bisenet and landmarks that this
    machine has the files for.

    Raises:
        PegasusError: BAD_CONFIG for another name, ASSET_MISSING where its file or package is not here.
    """
    if name == "auto":
        name = "bisenet" if available(PARSER_MODEL) else "landmarks"
    if name == "bisenet":
        return BisenetParser(threads=threads)
    if name == "segformer":
        from pegasus_ray.perception.nets.segformer import SegformerParser  # transformers: an extra, and slow to import

        return SegformerParser(path_of(SEGFORMER_FILES[1]).parent)
    if name == "landmarks":
        return LandmarkParser(HairModel(threads=threads) if available(HAIR_MODEL) else None)
    raise PegasusError(Reason.BAD_CONFIG, "is no parser; there are: auto, bisenet, segformer, landmarks", subject=name)


def parser_files(name: str) -> tuple[str, ...]:
    """The assets that the parser of that name would read on this machine."""
    if name == "segformer":
        return SEGFORMER_FILES
    if name == "bisenet" or (name == "auto" and available(PARSER_MODEL)):
        return (PARSER_MODEL,)
    return (HAIR_MODEL,) if available(HAIR_MODEL) else ()


class BisenetParser:
    """A BiSeNet of 19 classes on a square around the face.

    Raises:
        PegasusError: ASSET_MISSING or ASSET_CORRUPT.
    """

    _SIDE = 448

    def __init__(self, model: Path | None = None, *, threads: int = 2) -> None:
        self._net = Net((model or path_of(PARSER_MODEL)).read_bytes(), threads=threads)

    def __call__(self, rgb: Bytes, points: Floats, matte: Bytes) -> Bytes:
        """Labels (W, W); see `Parser`."""
        square = portrait_square(points)
        values = square.sample(rgb, self._SIDE).astype(np.float32) / 127.5 - 1
        seen = self._net(values)[0].reshape(self._SIDE, self._SIDE).astype(np.uint8)
        return onto_frame(seen, square, points, matte)


def portrait_square(points: Floats) -> Square:
    """The square around a face (478, 2) that nets trained on CelebAMask-HQ's portraits know."""
    low, high = points.min(0), points.max(0)
    side = _REACH * max(float((high - low).max()), _LEAST)
    x, y = (low + high) / 2
    return Square(x=float(x), y=float(y) - 0.08 * side, side=side)


def onto_frame(seen: Bytes, square: Square, points: Floats, matte: Bytes) -> Bytes:
    """Labels of a drawn square carried to the frame (W, W), made to agree with its matte and landmarks."""
    labels = fill_matte(_vote(seen, square, matte.shape[0]), matte)
    return by_side(_with_eyes(labels, points), points)


class HairModel:
    """Google's hair segmentation net.

    Raises:
        PegasusError: ASSET_MISSING or ASSET_CORRUPT.
    """

    _SIDE = 512

    def __init__(self, model: Path | None = None, *, threads: int = 2) -> None:
        self._net = Net((model or path_of(HAIR_MODEL)).read_bytes(), threads=threads)

    def __call__(self, rgb: Bytes) -> Floats:
        """How much of a pixel is hair, (W, W) 0–1, in a frame (W, W, 3)."""
        values = np.zeros((self._SIDE, self._SIDE, 4), np.float32)  # the fourth: the hair of a frame before; none
        values[..., :3] = cv2.resize(rgb, (self._SIDE, self._SIDE), interpolation=cv2.INTER_LINEAR) / 255
        logits = self._net(values)[0][0]
        hair = 1 / (1 + np.exp(np.clip(logits[..., 0] - logits[..., 1], -50, 50)))
        return np.asarray(cv2.resize(hair, rgb.shape[1::-1], interpolation=cv2.INTER_AREA))


class LandmarkParser:
    """Parts from the landmarks' polygons, the matte, the face's own colours, and a hair net where there is one."""

    def __init__(self, hair: HairModel | None = None) -> None:
        self._hair = hair

    def __call__(self, rgb: Bytes, points: Floats, matte: Bytes) -> Bytes:
        """Labels (W, W); see `Parser`."""
        size = rgb.shape[0]
        person = matte > 127
        frame = regions.face_frame(points)
        along, across = regions.coordinates(size, frame)
        oval = regions.polygon(points, regions.OVAL, size)
        under = regions.below_jaw(size, frame) & ~oval
        bare = regions.skin_coloured(rgb, points, shade=0.35)
        labels = np.where(under, np.uint8(Label.CLOTH), np.uint8(Label.SKIN)).astype(np.uint8)
        labels[under & bare & (np.abs(across) < 0.55) & (along < 1.0)] = Label.NECK
        labels[~under & ~oval & (np.abs(across) > 0.4) & (along > -0.25)] = Label.EAR_LEFT
        labels[self._hairy(rgb, points, under, person) & ~(oval & (along > -0.2))] = Label.HAIR
        for label, polygons in regions.POLYGONS.items():
            for indices in polygons:
                labels[regions.polygon(points, indices, size)] = label
        labels[~person] = Label.BACKGROUND
        return fill_matte(by_side(labels, points), matte)

    def _hairy(
        self, rgb: Bytes, points: Floats, under: npt.NDArray[np.bool_], person: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Hair: what the net says; and what lies above and beside the face without being skin, or hangs on in its colour."""
        along, _ = regions.coordinates(rgb.shape[0], regions.face_frame(points))
        oval = regions.polygon(points, regions.OVAL, rgb.shape[0])
        outside = ~under & ~oval
        bare = regions.skin_coloured(rgb, points, shade=0.65) & (along > -0.68)
        if self._hair is None:
            crown, face = person & ~oval & (along < -0.68), oval & (along > -0.2)
            return np.asarray((outside & ~bare) | regions.alike(rgb, crown, face, person & ~face))
        return np.asarray((self._hair(rgb) > 0.5) | (outside & ~bare & (along < -0.5)))


def _with_eyes(labels: Bytes, points: Floats) -> Bytes:
    """Open eyes and brows that a blurred frame hid from the net, where it saw skin in their place."""
    result = labels.copy()
    for label, mirrored in _MIRRORED[:2]:
        for side in (label, mirrored):
            indices = regions.POLYGONS[side][0]
            inside = regions.polygon(points, indices, labels.shape[0])
            seen = np.isin(labels[inside], (label, mirrored)).mean() if inside.any() else 1.0
            is_open = label is not Label.EYE_LEFT or regions.openness(points, indices) > 0.12
            if seen < 0.25 and is_open:
                result[inside & (labels == Label.SKIN)] = side
    return result


def by_side(labels: Bytes, points: Floats) -> Bytes:
    """Brows, eyes and ears named left and right by the side of the face, in the picture, that they lie on."""
    _, across = regions.coordinates(labels.shape[0], regions.face_frame(points))
    result = labels.copy()
    for left, right in _MIRRORED:
        either = (labels == left) | (labels == right)
        result[either] = np.where(across < 0, left, right)[either]
    return result


def fill_matte(labels: Bytes, matte: Bytes) -> Bytes:
    """Labels that agree with the matte: none outside, and inside the nearest one where there was none."""
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
    return (
        labels
        if labels.shape[0] == size
        else _vote(labels, Square(x=size / 2, y=size / 2, side=size), size, edge=cv2.BORDER_REPLICATE)
    )


def _vote(seen: Bytes, square: Square, size: int, *, edge: int = cv2.BORDER_CONSTANT) -> Bytes:
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
