"""Regions of a face, from its 478 landmarks: polygons, and coordinates along and across the face.

The polygons are lists of landmark numbers of the published mesh topology.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.parts import Label

Bools = npt.NDArray[np.bool_]
Indices = tuple[int, ...]

OVAL: Indices = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
EYE_LEFT: Indices = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
EYE_RIGHT: Indices = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
BROW_LEFT: Indices = (46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
BROW_RIGHT: Indices = (276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
NOSE: Indices = (168, 193, 122, 188, 126, 129, 98, 97, 2, 326, 327, 358, 355, 412, 351, 417)
_OUTER_UPPER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_INNER_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_OUTER_LOWER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_INNER_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
LIP_UPPER: Indices = (*_OUTER_UPPER, *_INNER_UPPER[::-1])
LIP_LOWER: Indices = (*_OUTER_LOWER, *_INNER_LOWER[::-1])
MOUTH: Indices = (*_INNER_UPPER, *_INNER_LOWER[::-1])

POLYGONS: dict[Label, tuple[Indices, ...]] = {
    Label.NOSE: (NOSE,),
    Label.BROW_LEFT: (BROW_LEFT,),
    Label.BROW_RIGHT: (BROW_RIGHT,),
    Label.EYE_LEFT: (EYE_LEFT,),
    Label.EYE_RIGHT: (EYE_RIGHT,),
    Label.MOUTH: (MOUTH,),
    Label.LIP_UPPER: (LIP_UPPER,),
    Label.LIP_LOWER: (LIP_LOWER,),
}
"""Parts that landmarks outline, in the order in which they are to be drawn."""

_FOREHEAD, _CHIN = 10, 152
_TEMPLES = (234, 454)
_CHEEKS: tuple[Indices, ...] = ((116, 117, 118, 101, 205, 187, 147, 123), (345, 346, 347, 330, 425, 411, 376, 352))


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceFrame:
    """Where a face is in the picture."""

    x: float  # middle of the face, pixels
    y: float
    down: tuple[float, float]  # from forehead to chin, a unit vector
    height: float  # pixels from the top of the forehead to the chin
    width: float  # pixels from temple to temple


def face_frame(points: Floats) -> FaceFrame:
    """Middle, direction and size of a face from its landmarks (478, 2)."""
    forehead, chin = points[_FOREHEAD].astype(np.float64), points[_CHIN].astype(np.float64)
    height = max(float(np.hypot(*(chin - forehead))), 1.0)
    down = (chin - forehead) / height
    x, y = (forehead + chin) / 2
    across = np.array([down[1], -down[0]])
    ends = points[list(_TEMPLES)] @ across
    width = max(float(abs(ends[1] - ends[0])), 0.3 * height)
    return FaceFrame(x=float(x), y=float(y), down=(float(down[0]), float(down[1])), height=height, width=width)


def coordinates(size: int, frame: FaceFrame) -> tuple[Floats, Floats]:
    """Each pixel's place on the face, two (size, size).

    Returns:
        along: -0.5 at the top of the forehead, 0.5 at the chin; across: in widths of the face from its middle line,
        negative on the left of the picture.
    """
    centres = np.arange(size, dtype=np.float32) + 0.5
    x, y = np.meshgrid(centres - frame.x, centres - frame.y)
    right, down = frame.down
    along = (x * right + y * down) / frame.height
    across = (x * down - y * right) / frame.width
    return along.astype(np.float32), across.astype(np.float32)


def polygon(points: Floats, indices: Indices, size: int) -> Bools:
    """Pixels (size, size) inside the polygon of those landmarks, to a sixteenth of a pixel."""
    corners = np.round((points[list(indices)] - 0.5) * 16).astype(np.int32)  # OpenCV counts from pixel centres
    drawn = np.zeros((size, size), np.uint8)
    cv2.fillPoly(drawn, [corners], 1, shift=4)
    return drawn > 0


def below_jaw(size: int, frame: FaceFrame) -> Bools:
    """Pixels (size, size) below the arc of the jaw and, beside the face, below the ears."""
    along, across = coordinates(size, frame)
    return np.asarray(along > 0.5 - 1.4 * np.square(np.clip(across, -0.5, 0.5)))


def openness(points: Floats, eye: Indices) -> float:
    """Height / width of an eye's outline: about 0.3 open, below 0.12 closed."""
    outline = points[list(eye)].astype(np.float64)
    width = max(float(np.hypot(*(outline[8] - outline[0]))), 1e-3)
    area = cv2.contourArea(outline.astype(np.float32))
    return float(area) / width**2


def skin_coloured(rgb: Bytes, points: Floats, *, shade: float) -> Bools:
    """Pixels (W, W) of a frame (W, W, 3) with about the cheeks' hue, and no darker than that share of their lightness."""
    size = rgb.shape[0]
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), max(size / 250, 0.5)), cv2.COLOR_RGB2LAB).astype(np.float32)
    cheeks = np.logical_or(*(polygon(points, indices, size) for indices in _CHEEKS))
    if not cheeks.any():
        return np.zeros((size, size), np.bool_)
    light = np.maximum(lab[..., 0], 1.0)
    hue = (lab[..., 1:] - 128) / light[..., None]
    middle = np.median(hue[cheeks], 0)
    spread = np.maximum(1.5 * np.median(np.abs(hue[cheeks] - middle), 0), 0.04)
    alike = np.square((hue - middle) / (3.5 * spread)).sum(-1) < 1.0
    return np.asarray(alike & (light > shade * np.median(light[cheeks])))


def alike(rgb: Bytes, seed: Bools, other: Bools, within: Bools) -> Bools:
    """Pixels (W, W) that are nearer in colour to `seed` than to `other`, and hang together with it inside `within`."""
    lab = cv2.cvtColor(cv2.GaussianBlur(rgb, (0, 0), max(len(rgb) / 250, 0.5)), cv2.COLOR_RGB2LAB).astype(np.float32)
    lab[..., 0] *= 0.5  # a strand's lightness says less than its hue
    if seed.sum() < 30 or other.sum() < 30:
        return np.zeros(seed.shape, np.bool_)
    near, far = (_colour_distance(lab, mask) for mask in (seed, other))
    likely = within & (near < far) & (near < 2.0)
    _, pieces = cv2.connectedComponents((likely | seed).astype(np.uint8))
    touching = np.unique(pieces[seed])
    return np.asarray(likely & np.isin(pieces, touching[touching > 0]))


def _colour_distance(lab: Floats, mask: Bools) -> Floats:
    """Squared distance of each pixel's colour from those in the mask, in three of their own deviations."""
    middle = np.median(lab[mask], 0)
    spread = np.maximum(1.5 * np.median(np.abs(lab[mask] - middle), 0), 3.0)
    return np.asarray(np.square((lab - middle) / (3.0 * spread)).sum(-1), np.float32)
