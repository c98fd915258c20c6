"""The person's opacity in each frame of a clip, steady and with the background's colour taken out of the edge.

A segmentation net says roughly where the person is. In the band that it leaves uncertain the colour decides: a pixel is
α·F + (1 − α)·B, B is known from the frames in which that pixel was background (or from its surroundings), F from the
person beside it. Where the two colours are alike the net's own edge stays, sharpened by a guided filter.

Legend: T frames, W side of the frames in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets.files import path_of
from pegasus_ray.perception.nets.net import Net
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.errors import PegasusError, Reason

MATTE_MODEL = "selfie_segmentation.tflite"

_SIDE = 256  # of the net's input
_BAND = 0.014  # how far the net's edge may be wrong, in sides of the frame
_SAME = 24.0  # colours (0–255) nearer than about this cannot tell person from background
_FAINT = 0.2  # opacity that noise and a lossy codec leave beside the edge
_DENSE = 0.1  # transparency that they leave within it
_NOISE = 16.0  # 0–255, of a pixel's colour
_AROUND = 0.012 * np.array(
    [(0, 0), *((r * np.sin(a), r * np.cos(a)) for r in (1, 2) for a in np.arange(8) * np.pi / 4)]
)
"""Where to look for the person's colours, (C, 2) rows and columns in sides of the frame."""
_STILL = 12.0  # a background pixel that varies more than this between frames is not still


class MatteModel(Protocol):
    """Says roughly where the person is."""

    def __call__(self, rgb: Bytes) -> Floats:
        """Opacity (W, W), 0–1, of a frame (W, W, 3)."""
        ...


class SelfieMatte:
    """Google's selfie segmentation net.

    Raises:
        PegasusError: ASSET_MISSING or ASSET_CORRUPT.
    """

    def __init__(self, model: Path | None = None, *, threads: int = 2) -> None:
        self._net = Net((model or path_of(MATTE_MODEL)).read_bytes(), threads=threads)

    def __call__(self, rgb: Bytes) -> Floats:
        """Opacity (W, W), 0–1, of a frame (W, W, 3)."""
        small = cv2.resize(rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        opacity = self._net(small.astype(np.float32) / 255)[0].reshape(_SIDE, _SIDE)
        return np.asarray(cv2.resize(opacity, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def matte_model_of(name: str, *, threads: int = 2) -> MatteModel:
    """The matte model of that name: `selfie`, or `auto`, the best there is.

    Raises:
        PegasusError: BAD_CONFIG for another name, ASSET_MISSING where its file is not here.
    """
    if name in ("auto", "selfie"):
        return SelfieMatte(threads=threads)
    raise PegasusError(Reason.BAD_CONFIG, "is no matte model; there are: auto, selfie", subject=name)


def rough_matte(frame: Bytes, model: MatteModel) -> Bytes:
    """Opacity (W, W), 0–255, of a frame (W, W, 3) by the net alone, its edge moved to the picture's."""
    radius = max(round(0.015 * frame.shape[0]), 2)
    guided = cv2.ximgproc.guidedFilter(frame.astype(np.float32) / 255, model(frame), radius, 1e-4)
    opacity = np.clip((guided - 0.5) / 0.45, 0, 1).astype(np.float32)
    return np.round(_largest(opacity) * 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """The background as the whole clip shows it."""

    colour: Floats  # (W, W, 3) 0–255
    trust: Floats  # (W, W) 0–1: seen, and still

    @staticmethod
    def of(frames: Sequence[Bytes] | Bytes, rough: Sequence[Bytes] | Bytes) -> Plate:
        """From frames (T, W, W, 3) of one camera and their rough opacity (T, W, W)."""
        disc = _disc(_BAND * frames[0].shape[0])
        total = np.zeros(frames[0].shape, np.float32)
        squares = np.zeros(frames[0].shape, np.float32)
        seen = np.zeros(frames[0].shape[:2], np.float32)
        for frame, opacity in zip(frames, rough, strict=True):
            free = (cv2.dilate(opacity, disc) < 25).astype(np.float32)
            seen += free
            total += frame * free[..., None]
            squares += np.square(frame, dtype=np.float32) * free[..., None]
        count = np.maximum(seen, 1.0)[..., None]
        colour = (total / count).astype(np.float32)
        spread = np.sqrt(np.maximum(squares / count - colour**2, 0).mean(-1))
        return Plate(colour=colour, trust=np.where(seen >= 2, np.exp(-((spread / _STILL) ** 2)), 0).astype(np.float32))

    def behind(self, frame: Bytes, free: Floats) -> Floats:
        """The background behind the person, (W, W, 3).

        Args:
            frame: the frame, (W, W, 3).
            free: 1 where the frame surely shows background, (W, W).
        """
        side = frame.shape[0]
        drift = _spread(frame - self.colour, free * self.trust, 0.08 * side)  # light and exposure change slowly
        steady = self.colour + drift
        weight = self.trust + 0.02 * free * (1 - self.trust)
        near = _spread(np.where(self.trust[..., None] > 0.5, steady, frame), weight, 0.01 * side)
        trust = self.trust[..., None]
        return np.asarray(trust * steady + (1 - trust) * near, dtype=np.float32)


def refine(
    frame: Bytes,  # (W, W, 3)
    rough: Bytes,  # (W, W)
    plate: Plate,
) -> tuple[Bytes, Bytes]:
    """The edge decided by colour: in the net's wide band, then in the narrower one that this leaves.

    Returns:
        opacity of the person (W, W), 0–255; and the frame (W, W, 3) with the person's own colour in the soft edge.
    """
    side = frame.shape[0]
    opacity: Floats = (rough / np.float32(255)).astype(np.float32)
    free = (cv2.dilate(opacity, _disc(_BAND * side)) < 0.1).astype(np.float32)
    behind = plate.behind(frame, free)
    for band in (_BAND, _BAND / 2):
        disc = _disc(band * side)
        inside = cv2.erode(opacity, disc) > 0.9
        depth = cv2.blur(opacity, disc.shape)  # 0 well outside the edge, 1 well inside
        found, own = _unmix(frame, behind, opacity, inside, (cv2.dilate(opacity, disc) >= 0.1) & ~inside)
        found = np.clip(found, np.clip(4 * depth - 3, 0, 1), np.clip(4 * depth, 0, 1)).astype(np.float32)
        closed = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        opacity = np.asarray(cv2.medianBlur(closed, 3))
    clean = _clean(frame, opacity, own, behind, depth, inside)
    opacity = np.clip((opacity - _FAINT) / (1 - _FAINT - _DENSE), 0, 1).astype(np.float32)
    opacity = _largest(np.asarray(cv2.GaussianBlur(opacity, (0, 0), 0.5)))
    matte = np.round(opacity * 255).astype(np.uint8)
    return matte, np.where(matte[..., None] > 0, clean, frame)


def _unmix(
    frame: Bytes, behind: Floats, prior: Floats, inside: npt.NDArray[np.bool_], band: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Opacity (W, W) and the person's colour (W, W, 3) in the band between person and background.

    Each pixel tries colours that the person has near it: those of the nearest sure pixel and around that. One counts the
    more, the better the pixel is a mixture of it and the background.
    """
    opacity = np.where(inside, np.float32(1), np.where(band, prior, np.float32(0))).astype(np.float32)
    own = frame.astype(np.float32)
    rows, columns = np.nonzero(band)
    if len(rows) == 0 or not inside.any():
        return opacity, own
    side = frame.shape[0]
    _, nearest = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.zeros((int(nearest.max()) + 1, 2), np.int64)
    places[nearest[inside]] = np.argwhere(inside)
    start = places[nearest[rows, columns]]  # (N, 2)
    around = np.clip(start[:, None] + np.round(_AROUND * side).astype(np.int64), 0, side - 1)  # (N, C, 2)
    person = own[around[..., 0], around[..., 1]]  # (N, C, 3)
    line = person - behind[rows, columns, None]
    mixed = (own - behind)[rows, columns, None]
    length = np.square(line).sum(-1)
    share = np.clip((mixed * line).sum(-1) / np.maximum(length, 1.0), 0, 1)
    miss = np.square(mixed - share[..., None] * line).sum(-1)
    miss[~inside[around[..., 0], around[..., 1]]] = np.inf  # `start` itself is inside, so that one is left
    weight = np.exp((miss.min(1, keepdims=True) - miss) / (2 * _NOISE**2))
    weight /= weight.sum(1, keepdims=True)
    sure = length / (length + 3 * _SAME**2)
    opacity[rows, columns] = (weight * (sure * share + (1 - sure) * prior[rows, columns, None])).sum(1)
    own[rows, columns] = (weight[..., None] * person).sum(1)
    return opacity, own


def _clean(
    frame: Bytes, opacity: Floats, own: Floats, behind: Floats, depth: Floats, inside: npt.NDArray[np.bool_]
) -> Bytes:
    """The frame without the background's share in the edge; the fainter a pixel, the more of it is `own`.

    Light and dark are taken back from the mixed pixel, its hue only well inside: lossy codecs smear hue over the edge.
    """
    share = opacity[..., None]
    unmixed = np.clip((frame - (1 - share) * behind) / np.maximum(share, 0.3), 0, 255)
    change = unmixed - own
    grey = change @ np.array([0.299, 0.587, 0.114], np.float32)
    hue = np.clip(2 * depth - 1, 0, 1)[..., None]
    mended = own + share**2 * (hue * change + (1 - hue) * grey[..., None])
    return np.round(np.clip(np.where(inside[..., None], frame, mended), 0, 255)).astype(np.uint8)


def _largest(opacity: Floats) -> Floats:
    """Without islands: only what hangs together with the largest piece."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((opacity > 0.3).astype(np.uint8))
    if count <= 2:
        return opacity
    piece = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    return np.asarray(opacity * cv2.dilate(piece, np.ones((3, 3), np.uint8)), dtype=np.float32)


def _spread(values: Floats, weight: Floats, sigma: float) -> Floats:
    """Values (W, W, 3) where they are known, carried smoothly to where they are not; the nearest count most."""
    known = weight + 1e-6
    result = _blur(values * weight[..., None], sigma) / np.maximum(_blur(known, sigma), 1e-9)[..., None]
    if float(weight.min()) > 0:
        return np.asarray(result, dtype=np.float32)
    wide = _blur(values * weight[..., None], 6 * sigma) / np.maximum(_blur(known, 6 * sigma), 1e-9)[..., None]
    near = np.clip(_blur(weight, sigma) * 20, 0, 1)[..., None]
    return np.asarray(near * result + (1 - near) * wide, dtype=np.float32)


def _blur(values: Floats, sigma: float) -> Floats:
    """Gaussian blur, wide ones at a quarter of the resolution."""
    if sigma < 6:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma))
    small = cv2.resize(values, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), values.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    )


def _disc(radius: float) -> Bytes:
    """A disc for dilation and erosion, one pixel in radius at least."""
    side = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
