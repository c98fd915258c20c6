"""Regions of pictures by their part maps, and how near pictures are to the truth inside them.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.schemas.parts import Attribute, Label, labels_of

Region = npt.NDArray[np.bool_]  # (S, S)

FACE_PARTS: Final[Mapping[str, tuple[Label, ...]]] = {
    "hair": (Label.HAIR,),
    "skin": (Label.SKIN,),
    "nose": (Label.NOSE,),
    "mouth": (Label.MOUTH, Label.LIP_UPPER, Label.LIP_LOWER),
    "brows": (Label.BROW_LEFT, Label.BROW_RIGHT),
    "eyes": (Label.EYE_LEFT, Label.EYE_RIGHT),
}
"""The parts by which part maps are compared. Left and right are one part; the mouth is lips and what lies between them."""
NOT_HEAD: Final = (Label.BACKGROUND, Label.NECK, Label.NECKLACE, Label.CLOTH)
"""Labels outside of the head; all others are inside."""
MAX_PSNR_DB: Final = 99.0
"""The PSNR of equal pictures, which would be infinite."""


def where_is(labels: Bytes, attribute: Attribute) -> Region:
    """The pixels of an attribute in a part map (S, S)."""
    return np.isin(labels, labels_of(attribute.part))


def parts_of(own: Track, changed: Track, attribute: Attribute) -> list[Region]:
    """The union of the own part and the part in the changed picture, in each frame, not dilated."""
    return [
        where_is(before, attribute) | where_is(after, attribute)
        for before, after in zip(own.parts, changed.parts, strict=True)
    ]


def head_box(labels: Bytes) -> Region:
    """The smallest upright box around a head in a part map (S, S), filled; empty where there is no head."""
    rows, columns = np.nonzero(~np.isin(labels, NOT_HEAD))
    box = np.zeros(labels.shape, bool)
    if len(rows):
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return box


def dilate(region: Region, share: float) -> Region:
    """A region grown by a share of the side."""
    radius = max(1, round(share * len(region)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return np.asarray(cv2.dilate(region.astype(np.uint8), disc)) > 0


def iou(found: Region, truth: Region) -> float:
    """Intersection over union of two regions of the same shape; 0 where both are empty."""
    return float((found & truth).sum() / max((found | truth).sum(), 1))


def psnr_of(image: Bytes, truth: Bytes, region: Region) -> float:
    """PSNR in dB of 8-bit pictures (S, S, 3) inside a region; 99 for equal ones."""
    error = np.square((image[region].astype(np.float64) - truth[region]) / 255).mean()
    return float(min(-10 * np.log10(max(error, 1e-12)), MAX_PSNR_DB))


def mean_psnr(pictures: Sequence[Bytes] | Bytes, truths: Sequence[Bytes] | Bytes, regions: Sequence[Region]) -> float:
    """The mean of `psnr_of` over the frames whose region is not empty; NaN where all are.

    A part need not be seen in every frame: eyes may be shut.
    """
    frames = zip(pictures, truths, regions, strict=True)
    scores = [psnr_of(picture, truth, region) for picture, truth, region in frames if region.any()]
    return float(np.mean(scores)) if scores else float("nan")
