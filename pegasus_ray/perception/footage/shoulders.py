"""Shoulders that the segmentation net misses where little of them shows above the picture's lower border.

What is missed has the colours of the clothes that it sees in other frames, and hangs together with the person. Colours that
the background has too decide nothing, and then everything stays as it was.

Legend: T frames, W side of the frames in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.nets.square import Bytes, Floats

LEVELS: Final = 16  # of each channel, into which colours are counted
FRAMES: Final = 64  # whose colours are counted, at most
SURE: Final = 0.9  # probability from which on a colour is the person's
RIM: Final = 0.012  # sides: so near to the net's edge colours are mixed, and not counted
THIN: Final = 0.004  # sides: what is thinner is the edge itself
FILLED: Final = 0.015  # sides: holes of this radius in what is added are filled, as is the gap to the rest
LEAST: Final = 2e-4  # share of the picture that a piece must cover


def with_shoulders(frames: Sequence[Bytes], rough: Sequence[Bytes]) -> list[Bytes]:
    """Rough opacity (T of (W, W), 0–255) of frames (T of (W, W, 3)), with the pieces added that leave the picture below."""
    odds = _persons_colours(frames, rough)
    return [_completed(frame, opacity, odds) for frame, opacity in zip(frames, rough, strict=True)]


def _persons_colours(frames: Sequence[Bytes], rough: Sequence[Bytes]) -> Floats:
    """The probability that a colour is the person's and not the background's, by bin, (LEVELS³,)."""
    rim = _disc(RIM * frames[0].shape[0])
    person, background = (np.full(LEVELS**3, 1e-3) for _ in range(2))
    for number in np.unique(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int)):
        bins, opacity = _bins(frames[number]), rough[number]
        person += np.bincount(bins[cv2.erode(opacity, rim) > 230], minlength=LEVELS**3)
        background += np.bincount(bins[cv2.dilate(opacity, rim) < 25], minlength=LEVELS**3)
    smooth = [cv2.blur(counts.reshape(LEVELS, LEVELS**2), (1, 3)).ravel() + counts for counts in (person, background)]
    return np.asarray(smooth[0] / (smooth[0] + smooth[1] + 1.0), dtype=np.float32)


def _completed(frame: Bytes, opacity: Bytes, odds: Floats) -> Bytes:
    side = frame.shape[0]
    known = opacity > 127
    alike = (odds[_bins(frame)] > SURE) & ~known
    alike = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_CLOSE, _disc(THIN * side))
    solid = cv2.morphologyEx(alike, cv2.MORPH_OPEN, _disc(THIN * side))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(solid)
    beside = cv2.dilate(known.astype(np.uint8), _disc(2 * THIN * side)) > 0
    added = np.zeros((side, side), np.bool_)
    for number in range(1, count):
        piece = pieces == number
        leaves = stats[number, cv2.CC_STAT_TOP] + stats[number, cv2.CC_STAT_HEIGHT] == side
        if leaves and stats[number, cv2.CC_STAT_AREA] > LEAST * side**2 and bool((piece & beside).any()):
            added |= piece
    if not added.any():
        return opacity
    near = _disc(FILLED * side)
    together = cv2.morphologyEx((known | added).astype(np.uint8), cv2.MORPH_CLOSE, near)
    gained = (together > 0) & (cv2.dilate(added.astype(np.uint8), near) > 0)
    soft = cv2.GaussianBlur(gained.astype(np.float32), (0, 0), max(0.002 * side, 0.5))
    return np.asarray(np.maximum(opacity, np.round(soft * 255)), dtype=np.uint8)


def _bins(frame: Bytes) -> npt.NDArray[np.int64]:
    """Which bin each pixel's colour falls into, (W, W)."""
    steps = (frame // (256 // LEVELS)).astype(np.int64)
    return np.asarray((steps[..., 0] * LEVELS + steps[..., 1]) * LEVELS + steps[..., 2])


def _disc(radius: float) -> Bytes:
    side = 2 * max(round(radius), 1) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), dtype=np.uint8)
