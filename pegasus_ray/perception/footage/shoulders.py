"""Adds shoulders that the segmentation network misses where little of them shows above the picture's lower border.

The missed pieces have the colours of the clothes that the network sees in other frames, and are connected to the person.
Where the background has the same colours nothing can be decided, and the matte stays as it was.

Legend: T frames, W side of the frames in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.nets.matte import disc
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.evenly import evenly

COLOUR_LEVELS: Final = 16  # of each channel, into which colours are counted
MAX_COUNTED_FRAMES: Final = 64  # whose colours are counted
SURE_PROBABILITY: Final = 0.9  # from which on a colour is the person's
RIM_SIDES: Final = 0.012  # this near to the network's edge, in sides of the frame, colours are mixed and not counted
THIN_SIDES: Final = 0.004  # what is thinner is the edge itself
FILL_SIDES: Final = 0.015  # radius up to which holes in what is added, and the gap between it and the rest, are filled
MIN_PIECE_SHARE: Final = 2e-4  # of the picture that a piece must cover


def with_shoulders(frames: Sequence[Bytes], rough: Sequence[Bytes]) -> list[Bytes]:
    """Rough opacity with the missed pieces of clothing added that reach the picture's lower border.

    Args:
        frames: T of (W, W, 3).
        rough: T of (W, W), 0–255.

    Returns:
        T of (W, W), 0–255.
    """
    probability = _person_probability(frames, rough)
    return [_add_pieces(frame, opacity, probability) for frame, opacity in zip(frames, rough, strict=True)]


def _person_probability(frames: Sequence[Bytes], rough: Sequence[Bytes]) -> Floats:
    """The probability that a colour is the person's and not the background's, by bin, (COLOUR_LEVELS³,)."""
    rim = disc(RIM_SIDES * frames[0].shape[0])
    person, background = (np.full(COLOUR_LEVELS**3, 1e-3) for _ in range(2))
    for number in evenly(len(frames), MAX_COUNTED_FRAMES):
        bins, opacity = _bins(frames[number]), rough[number]
        person += np.bincount(bins[cv2.erode(opacity, rim) > 230], minlength=COLOUR_LEVELS**3)
        background += np.bincount(bins[cv2.dilate(opacity, rim) < 25], minlength=COLOUR_LEVELS**3)
    shape = (COLOUR_LEVELS, COLOUR_LEVELS**2)
    smooth = [cv2.blur(counts.reshape(shape), (1, 3)).ravel() + counts for counts in (person, background)]
    return np.asarray(smooth[0] / (smooth[0] + smooth[1] + 1.0), dtype=np.float32)


def _add_pieces(frame: Bytes, opacity: Bytes, probability: Floats) -> Bytes:
    """A frame's opacity (W, W), 0–255, with the missed pieces added.

    A piece must have the person's colours, touch what is known of the person, reach the lower border, and be neither thin
    nor tiny.
    """
    side = frame.shape[0]
    known = opacity > 127
    alike = (probability[_bins(frame)] > SURE_PROBABILITY) & ~known
    alike = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_CLOSE, disc(THIN_SIDES * side))
    solid = cv2.morphologyEx(alike, cv2.MORPH_OPEN, disc(THIN_SIDES * side))
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(solid)
    beside = cv2.dilate(known.astype(np.uint8), disc(2 * THIN_SIDES * side)) > 0
    added = np.zeros((side, side), np.bool_)
    for number in range(1, count):
        piece = pieces == number
        leaves = stats[number, cv2.CC_STAT_TOP] + stats[number, cv2.CC_STAT_HEIGHT] == side
        if leaves and stats[number, cv2.CC_STAT_AREA] > MIN_PIECE_SHARE * side**2 and bool((piece & beside).any()):
            added |= piece
    if not added.any():
        return opacity
    near = disc(FILL_SIDES * side)
    together = cv2.morphologyEx((known | added).astype(np.uint8), cv2.MORPH_CLOSE, near)
    gained = (together > 0) & (cv2.dilate(added.astype(np.uint8), near) > 0)
    soft = cv2.GaussianBlur(gained.astype(np.float32), (0, 0), max(0.002 * side, 0.5))
    return np.asarray(np.maximum(opacity, np.round(soft * 255)), dtype=np.uint8)


def _bins(frame: Bytes) -> npt.NDArray[np.int64]:
    """Which bin each pixel's colour falls into, (W, W)."""
    steps = (frame // (256 // COLOUR_LEVELS)).astype(np.int64)
    return np.asarray((steps[..., 0] * COLOUR_LEVELS + steps[..., 1]) * COLOUR_LEVELS + steps[..., 2])
