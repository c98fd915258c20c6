"""The person's opacity in each frame of a video, steady over time and with the background's colour taken out of the edge.

A segmentation network says roughly where the person is. In the band along the edge that it leaves uncertain, colour
decides: a pixel is α·F + (1 − α)·B. B is known from the frames in which that pixel was background (or from its
surroundings), F from the person beside it. Where the two colours are alike, the network's own edge stays, sharpened by a
guided filter.

Legend: T frames, W side of the frames in pixels, N pixels of the band, C candidate colours a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets.files import path_of
from pegasus_ray.perception.nets.litert import LiteRtNet
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.errors import PegasusError, Reason

MATTE_MODEL: Final = "selfie_segmentation.tflite"

_INPUT_SIDE: Final = 256  # pixels, of the network's input
_BAND_SIDES: Final = 0.014  # how far the network's edge may be wrong, in sides of the frame
_ALIKE_COLOURS: Final = 24.0  # of 255: person and background nearer in colour than about this cannot be told apart
_FAINT: Final = 0.2  # opacity that noise and a lossy codec leave just outside the edge
_DENSE: Final = 0.1  # transparency that they leave just inside it
_COLOUR_NOISE: Final = 16.0  # of 255, of a pixel's colour
_CANDIDATE_OFFSETS: Final = 0.012 * np.array(
    [(0, 0), *((r * np.sin(a), r * np.cos(a)) for r in (1, 2) for a in np.arange(8) * np.pi / 4)]
)
"""Where the person's colours are looked for around a pixel, (C, 2) rows and columns in sides of the frame."""
_STILL_DEVIATION: Final = 12.0  # of 255: a background pixel that varies more than this between frames is not still


class MatteModel(Protocol):
    """Says roughly where the person is."""

    def __call__(self, rgb: Bytes) -> Floats:
        """Opacity (W, W), 0–1, of a frame (W, W, 3)."""
        ...


class SelfieMatte:
    """Google's selfie segmentation network.

    Args:
        threads: how many threads the network may use.

    Raises:
        PegasusError: ASSET_MISSING or ASSET_CORRUPT.
    """

    def __init__(self, *, threads: int = 2) -> None:
        self._net = LiteRtNet(path_of(MATTE_MODEL).read_bytes(), threads=threads)

    def __call__(self, rgb: Bytes) -> Floats:
        """Opacity (W, W), 0–1, of a frame (W, W, 3)."""
        small = cv2.resize(rgb, (_INPUT_SIDE, _INPUT_SIDE), interpolation=cv2.INTER_AREA)
        opacity = self._net(small.astype(np.float32) / 255)[0].reshape(_INPUT_SIDE, _INPUT_SIDE)
        return np.asarray(cv2.resize(opacity, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR))


def matte_model_of(name: str, *, threads: int = 2) -> MatteModel:
    """The matte model of that name: `selfie`, or `auto`, which is `selfie` too.

    Raises:
        PegasusError: BAD_CONFIG for another name, ASSET_MISSING where its file is not here.
    """
    if name in ("auto", "selfie"):
        return SelfieMatte(threads=threads)
    raise PegasusError(Reason.BAD_CONFIG, "is no matte model; there are: auto, selfie", subject=name)


def rough_matte(frame: Bytes, model: MatteModel) -> Bytes:
    """Opacity (W, W), 0–255, of a frame (W, W, 3) by the network alone; a guided filter aligns its edge with the picture."""
    radius = max(round(0.015 * frame.shape[0]), 2)
    guided = cv2.ximgproc.guidedFilter(frame.astype(np.float32) / 255, model(frame), radius, 1e-4)
    opacity = np.clip((guided - 0.5) / 0.45, 0, 1).astype(np.float32)
    return np.round(_largest_piece(opacity) * 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A clean plate: the background as the whole video shows it."""

    colour: Floats  # (W, W, 3) 0–255
    trust: Floats  # (W, W) 0–1: high where it was seen and is still

    @staticmethod
    def of(frames: Sequence[Bytes] | Bytes, rough: Sequence[Bytes] | Bytes) -> Plate:
        """From frames (T, W, W, 3) of one camera that does not move, and their rough opacity (T, W, W)."""
        margin = disc(_BAND_SIDES * frames[0].shape[0])
        total = np.zeros(frames[0].shape, np.float32)
        squares = np.zeros(frames[0].shape, np.float32)
        seen = np.zeros(frames[0].shape[:2], np.float32)
        for frame, opacity in zip(frames, rough, strict=True):
            free = (cv2.dilate(opacity, margin) < 25).astype(np.float32)
            seen += free
            total += frame * free[..., None]
            squares += np.square(frame, dtype=np.float32) * free[..., None]
        count = np.maximum(seen, 1.0)[..., None]
        colour = (total / count).astype(np.float32)
        deviation = np.sqrt(np.maximum(squares / count - colour**2, 0).mean(-1))
        still = np.exp(-((deviation / _STILL_DEVIATION) ** 2))
        return Plate(colour=colour, trust=np.where(seen >= 2, still, 0).astype(np.float32))

    def behind(self, frame: Bytes, free: Floats) -> Floats:
        """The background behind the person in one frame, (W, W, 3).

        Args:
            frame: the frame, (W, W, 3).
            free: 1 where the frame surely shows background, (W, W).
        """
        side = frame.shape[0]
        drift = _extrapolate(frame - self.colour, free * self.trust, 0.08 * side)  # light and exposure change slowly
        steady = self.colour + drift
        weight = self.trust + 0.02 * free * (1 - self.trust)
        near = _extrapolate(np.where(self.trust[..., None] > 0.5, steady, frame), weight, 0.01 * side)
        trust = self.trust[..., None]
        return np.asarray(trust * steady + (1 - trust) * near, dtype=np.float32)


def refine(
    frame: Bytes,  # (W, W, 3)
    rough: Bytes,  # (W, W)
    plate: Plate,
) -> tuple[Bytes, Bytes]:
    """Decide the edge by colour: in the network's wide band, then in the narrower one that this leaves.

    Returns:
        Opacity of the person (W, W), 0–255; and the frame (W, W, 3) with the person's own colour in the soft edge.
    """
    side = frame.shape[0]
    opacity: Floats = (rough / np.float32(255)).astype(np.float32)
    free = (cv2.dilate(opacity, disc(_BAND_SIDES * side)) < 0.1).astype(np.float32)
    behind = plate.behind(frame, free)
    for band in (_BAND_SIDES, _BAND_SIDES / 2):
        margin = disc(band * side)
        inside = cv2.erode(opacity, margin) > 0.9
        depth = cv2.blur(opacity, margin.shape)  # 0 well outside the edge, 1 well inside
        found, own = _unmix(frame, behind, opacity, inside, (cv2.dilate(opacity, margin) >= 0.1) & ~inside)
        found = np.clip(found, np.clip(4 * depth - 3, 0, 1), np.clip(4 * depth, 0, 1)).astype(np.float32)
        closed = cv2.morphologyEx(found, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
        opacity = np.asarray(cv2.medianBlur(closed, 3))
    clean = _clean(frame, opacity, own, behind, depth, inside)
    opacity = np.clip((opacity - _FAINT) / (1 - _FAINT - _DENSE), 0, 1).astype(np.float32)
    opacity = _largest_piece(np.asarray(cv2.GaussianBlur(opacity, (0, 0), 0.5)))
    matte = np.round(opacity * 255).astype(np.uint8)
    return matte, np.where(matte[..., None] > 0, clean, frame)


def _unmix(
    frame: Bytes, behind: Floats, prior: Floats, inside: npt.NDArray[np.bool_], band: npt.NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Opacity (W, W) and the person's colour (W, W, 3) in the band between person and background.

    For each pixel of the band the candidates for F are the colours of the nearest pixel that surely shows the person, and
    of those around it. A candidate weighs the more, the better the pixel is a mixture of it and the background.

    Args:
        frame: the frame, (W, W, 3).
        behind: the background behind the person, (W, W, 3).
        prior: opacity so far, (W, W): what is taken where the two colours are alike.
        inside: pixels that surely show the person, (W, W).
        band: pixels to decide, (W, W).
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
    around = np.clip(start[:, None] + np.round(_CANDIDATE_OFFSETS * side).astype(np.int64), 0, side - 1)  # (N, C, 2)
    person = own[around[..., 0], around[..., 1]]  # (N, C, 3)
    line = person - behind[rows, columns, None]
    mixed = (own - behind)[rows, columns, None]
    length = np.square(line).sum(-1)
    share = np.clip((mixed * line).sum(-1) / np.maximum(length, 1.0), 0, 1)
    miss = np.square(mixed - share[..., None] * line).sum(-1)
    miss[~inside[around[..., 0], around[..., 1]]] = np.inf  # never all of them: `start` itself is inside
    weight = np.exp((miss.min(1, keepdims=True) - miss) / (2 * _COLOUR_NOISE**2))
    weight /= weight.sum(1, keepdims=True)
    sure = length / (length + 3 * _ALIKE_COLOURS**2)
    opacity[rows, columns] = (weight * (sure * share + (1 - sure) * prior[rows, columns, None])).sum(1)
    own[rows, columns] = (weight[..., None] * person).sum(1)
    return opacity, own


def _clean(
    frame: Bytes, opacity: Floats, own: Floats, behind: Floats, depth: Floats, inside: npt.NDArray[np.bool_]
) -> Bytes:
    """The frame (W, W, 3) without the background's share in the edge; the fainter a pixel, the more of it is `own`.

    The pixel's lightness is kept where it can be unmixed, its hue only well inside, because lossy codecs smear hue over
    the edge.

    Args:
        frame: the frame, (W, W, 3).
        opacity: of the person, (W, W).
        own: the person's colour in the band, (W, W, 3).
        behind: the background behind the person, (W, W, 3).
        depth: how far inside the edge a pixel is, (W, W) 0–1.
        inside: pixels that surely show the person, (W, W).
    """
    share = opacity[..., None]
    unmixed = np.clip((frame - (1 - share) * behind) / np.maximum(share, 0.3), 0, 255)
    change = unmixed - own
    grey = change @ np.array([0.299, 0.587, 0.114], np.float32)
    hue = np.clip(2 * depth - 1, 0, 1)[..., None]
    mended = own + share**2 * (hue * change + (1 - hue) * grey[..., None])
    return np.round(np.clip(np.where(inside[..., None], frame, mended), 0, 255)).astype(np.uint8)


def _largest_piece(opacity: Floats) -> Floats:
    """Opacity (W, W) without islands: only what is connected to the largest piece."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((opacity > 0.3).astype(np.uint8))
    if count <= 2:
        return opacity
    piece = (labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    return np.asarray(opacity * cv2.dilate(piece, np.ones((3, 3), np.uint8)), dtype=np.float32)


def _extrapolate(values: Floats, weight: Floats, sigma: float) -> Floats:
    """Values (W, W, 3) carried smoothly from where they are known to where they are not; the nearest count most.

    Args:
        values: (W, W, 3).
        weight: how well each pixel's value is known, (W, W) 0–1.
        sigma: pixels, over which values are averaged; six times as far where nothing nearer is known.
    """
    known = weight + 1e-6
    result = _blur(values * weight[..., None], sigma) / np.maximum(_blur(known, sigma), 1e-9)[..., None]
    if float(weight.min()) > 0:
        return np.asarray(result, dtype=np.float32)
    wide = _blur(values * weight[..., None], 6 * sigma) / np.maximum(_blur(known, 6 * sigma), 1e-9)[..., None]
    near = np.clip(_blur(weight, sigma) * 20, 0, 1)[..., None]
    return np.asarray(near * result + (1 - near) * wide, dtype=np.float32)


def _blur(values: Floats, sigma: float) -> Floats:
    """Gaussian blur; a wide one is computed at a quarter of the resolution, which is faster."""
    if sigma < 6:
        return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma))
    small = cv2.resize(values, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma / 4), values.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    )


def disc(radius: float) -> Bytes:
    """A disc for dilation and erosion, at least one pixel in radius."""
    side = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
