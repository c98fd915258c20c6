"""Regions of a face in the picture, from its 478 landmarks and its colours.

Coordinates on the face run along it (from forehead to chin) and across it (from temple to temple).

Legend: W side of the frame in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.nets.mesh_topology import CHEEKS, CHIN, FOREHEAD_TOP, TEMPLES, Indices
from pegasus_ray.perception.nets.square import Bytes, Floats

Bools = npt.NDArray[np.bool_]

_MIN_FACE_HEIGHT_PIXELS: Final = 1.0  # least height, also where all landmarks are one point
_MIN_WIDTH_SHARE: Final = 0.3  # of the height: a face is never narrower, though in profile its temples coincide
_MIN_COLOUR_SAMPLE: Final = 30  # pixels; fewer do not say what colour a region has


@dataclass(frozen=True, slots=True, kw_only=True)
class FacePlacement:
    """Position, direction and size of a face in the picture."""

    x: float  # middle of the face, pixels
    y: float
    down: tuple[float, float]  # from forehead to chin, a unit vector
    height: float  # pixels from the top of the forehead to the chin
    width: float  # pixels from temple to temple


def face_placement(points: Floats) -> FacePlacement:
    """Middle, direction and size of a face from its landmarks (478, 2)."""
    forehead, chin = points[FOREHEAD_TOP].astype(np.float64), points[CHIN].astype(np.float64)
    height = max(float(np.hypot(*(chin - forehead))), _MIN_FACE_HEIGHT_PIXELS)
    down = (chin - forehead) / height
    x, y = (forehead + chin) / 2
    across = np.array([down[1], -down[0]])
    ends = points[list(TEMPLES)] @ across
    width = max(float(abs(ends[1] - ends[0])), _MIN_WIDTH_SHARE * height)
    return FacePlacement(x=float(x), y=float(y), down=(float(down[0]), float(down[1])), height=height, width=width)


def coordinates(size: int, face: FacePlacement) -> tuple[Floats, Floats]:
    """Each pixel's place on the face, two arrays (size, size).

    Returns:
        along: -0.5 at the top of the forehead, 0.5 at the chin; across: in widths of the face from its middle line,
        negative on the left of the picture.
    """
    centres = np.arange(size, dtype=np.float32) + 0.5
    x, y = np.meshgrid(centres - face.x, centres - face.y)
    right, down = face.down
    along = (x * right + y * down) / face.height
    across = (x * down - y * right) / face.width
    return along.astype(np.float32), across.astype(np.float32)


def polygon(points: Floats, indices: Indices, size: int) -> Bools:
    """Pixels (size, size) inside the polygon of some landmarks (478, 2), in pixels; drawn to a sixteenth of a pixel."""
    corners = np.round((points[list(indices)] - 0.5) * 16).astype(np.int32)  # OpenCV counts from pixel centres
    drawn = np.zeros((size, size), np.uint8)
    cv2.fillPoly(drawn, [corners], 1, shift=4)
    return drawn > 0


def below_jaw(size: int, face: FacePlacement) -> Bools:
    """Pixels (size, size) below the arc of the jaw, and beside the face those below the ears."""
    along, across = coordinates(size, face)
    return np.asarray(along > 0.5 - 1.4 * np.square(np.clip(across, -0.5, 0.5)))


def openness(points: Floats, eye: Indices) -> float:
    """Area of an eye's outline over its squared width: about 0.3 if it is open, below 0.12 if closed. Landmarks are (478, 2)."""
    outline = points[list(eye)].astype(np.float64)
    width = max(float(np.hypot(*(outline[8] - outline[0]))), 1e-3)
    area = cv2.contourArea(outline.astype(np.float32))
    return float(area) / width**2


def skin_coloured(rgb: Bytes, points: Floats, *, shade: float) -> Bools:
    """Pixels (W, W) of a frame (W, W, 3) that have about the hue of the cheeks.

    Args:
        rgb: the frame.
        points: the face's landmarks, (478, 2) pixels.
        shade: how dark skin may be, as a share of the cheeks' lightness.
    """
    size = rgb.shape[0]
    lab = _smooth_lab(rgb)
    cheeks = np.logical_or(*(polygon(points, indices, size) for indices in CHEEKS))
    if not cheeks.any():
        return np.zeros((size, size), np.bool_)
    light = np.maximum(lab[..., 0], 1.0)
    hue = (lab[..., 1:] - 128) / light[..., None]
    middle = np.median(hue[cheeks], 0)
    deviation = np.maximum(1.5 * np.median(np.abs(hue[cheeks] - middle), 0), 0.04)
    same_hue = np.square((hue - middle) / (3.5 * deviation)).sum(-1) < 1.0
    return np.asarray(same_hue & (light > shade * np.median(light[cheeks])))


def grow_by_colour(rgb: Bytes, seed: Bools, other: Bools, within: Bools) -> Bools:
    """A region (W, W) grown from `seed` over pixels of a frame (W, W, 3) that are nearer in colour to it than to `other`.

    Only pixels inside `within` that are connected to the seed are taken.
    """
    lab = _smooth_lab(rgb)
    lab[..., 0] *= 0.5  # a strand of hair varies more in lightness than in hue
    if seed.sum() < _MIN_COLOUR_SAMPLE or other.sum() < _MIN_COLOUR_SAMPLE:
        return np.zeros(seed.shape, np.bool_)
    near, far = (_colour_distance(lab, mask) for mask in (seed, other))
    likely = within & (near < far) & (near < 2.0)
    _, pieces = cv2.connectedComponents((likely | seed).astype(np.uint8))
    touching = np.unique(pieces[seed])
    return np.asarray(likely & np.isin(pieces, touching[touching > 0]))


def _smooth_lab(rgb: Bytes) -> Floats:
    """A frame in Lab, (W, W, 3) each 0–255, blurred by a 250th of its side."""
    blurred = cv2.GaussianBlur(rgb, (0, 0), max(len(rgb) / 250, 0.5))
    return np.asarray(cv2.cvtColor(blurred, cv2.COLOR_RGB2LAB).astype(np.float32))


def _colour_distance(lab: Floats, mask: Bools) -> Floats:
    """Squared distance (W, W) of each pixel's colour from the mask's median, in three robust standard deviations."""
    middle = np.median(lab[mask], 0)
    deviation = np.maximum(1.5 * np.median(np.abs(lab[mask] - middle), 0), 3.0)
    return np.asarray(np.square((lab - middle) / (3.0 * deviation)).sum(-1), np.float32)
