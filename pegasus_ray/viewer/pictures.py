"""Pictures for the report: sheets of frames, coloured part maps and masks, close-ups, pictures embedded in the page.

Legend: T frames; S side, H and W height and width in pixels.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.library.track import Bytes
from pegasus_ray.render.images import contact_sheet
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Label

WEBP_QUALITY = 82
"""Quality of the page's pictures, 0–100."""
MAX_SIDE_PIXELS = 1600
"""Longest side of a picture on the page."""

_COLOURS: dict[Label, tuple[int, int, int]] = {  # RGB of each label in drawn part maps
    Label.BACKGROUND: (245, 245, 243),
    Label.SKIN: (232, 190, 160),
    Label.BROW_LEFT: (110, 78, 60),
    Label.BROW_RIGHT: (110, 78, 60),
    Label.EYE_LEFT: (70, 130, 180),
    Label.EYE_RIGHT: (70, 130, 180),
    Label.GLASSES: (60, 60, 70),
    Label.EAR_LEFT: (205, 150, 125),
    Label.EAR_RIGHT: (205, 150, 125),
    Label.EARRING: (230, 200, 80),
    Label.NOSE: (216, 160, 128),
    Label.MOUTH: (120, 40, 50),
    Label.LIP_UPPER: (200, 92, 98),
    Label.LIP_LOWER: (214, 112, 116),
    Label.NECK: (190, 150, 130),
    Label.NECKLACE: (210, 180, 90),
    Label.CLOTH: (110, 150, 140),
    Label.HAIR: (84, 64, 98),
    Label.HAT: (190, 90, 60),
}
_PAPER_COLOUR = np.array([245, 245, 243], np.float32)  # RGB, the page's background
_MASK_COLOUR = np.array([47, 111, 115], np.float32)  # RGB, of masks
_PALETTE: npt.NDArray[np.uint8] = np.array([_COLOURS[label] for label in Label], np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture embedded in the page."""

    uri: str  # data:image/webp;base64,…
    width: int
    height: int


def embed(image: Bytes) -> Picture:
    """A picture (H, W, 3) RGB as WebP in a data URI, shrunk if a side is longer than `MAX_SIDE_PIXELS`."""
    height, width = image.shape[:2]
    if (scale := MAX_SIDE_PIXELS / max(height, width)) < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA).astype(np.uint8)
        height, width = image.shape[:2]
    done, data = cv2.imencode(".webp", np.ascontiguousarray(image[..., ::-1]), (cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY))
    if not done:
        raise PegasusError(Reason.INTERNAL, f"OpenCV writes no WebP of a picture of shape {image.shape}")
    code = base64.b64encode(data.tobytes()).decode("ascii")
    return Picture(uri=f"data:image/webp;base64,{code}", width=width, height=height)


def sheet_of_rows(*rows: Sequence[Bytes]) -> Bytes:
    """Rows of pictures (H, W, 3) as one sheet; all rows have the same number of pictures, and all pictures the same size."""
    return contact_sheet([image for row in rows for image in row], columns=len(rows[0]))


def colour_parts(parts: Bytes) -> Bytes:
    """Part maps (…, S, S) of `Label` as RGB (…, S, S, 3), a colour for each label."""
    coloured: Bytes = _PALETTE[np.minimum(parts, len(_PALETTE) - 1)]
    return coloured


def tint_mask(mask: Bytes) -> Bytes:
    """Masks (…, S, S) as RGB (…, S, S, 3): from the page's background at 0 to one colour at 255."""
    share = mask[..., None].astype(np.float32) / 255
    tinted: Bytes = (_PAPER_COLOUR * (1 - share) + _MASK_COLOUR * share).round().astype(np.uint8)
    return tinted


Window = tuple[slice, slice]  # rows, columns


def close_up_windows(
    inside: npt.NDArray[np.bool_],  # (T, S, S)
    *,
    margin: float = 0.9,
) -> list[Window]:
    """Square windows, a frame each and all of one size, that follow a region through the frames.

    Their side is (1 + `margin`) times the region's largest extent in any frame, but at least a fifth of the frame's side. If
    that is more than four fifths of the frame's side, the windows are the whole frames.
    """
    size = inside.shape[-1]
    boxes = [np.nonzero(frame) for frame in inside if frame.any()]
    extent = max((1 + int(np.ptp(places)) for box in boxes for places in box), default=size)
    side = max(round(extent * (1 + margin)), size // 5)
    if side > 0.8 * size:
        return [(slice(0, size), slice(0, size))] * len(inside)
    windows: list[Window] = []
    middle = np.full(2, size / 2)
    for frame in inside:
        if frame.any():  # an empty frame keeps the window of the frame before
            middle = np.array([(int(places.min()) + int(places.max()) + 1) / 2 for places in np.nonzero(frame)])
        top, left = np.clip(np.round(middle - side / 2).astype(int), 0, size - side)
        windows.append((slice(top, top + side), slice(left, left + side)))
    return windows


def enlarge(image: Bytes, window: Window) -> Bytes:
    """Enlarge a window of a picture (S, S, 3) to the picture's own size."""
    size = image.shape[0]
    cut = np.ascontiguousarray(image[window])
    enlarged: Bytes = cv2.resize(cut, (size, size), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    return enlarged


def part_legend() -> list[tuple[str, str]]:
    """Names of the parts and their colours in CSS; left and right parts have one entry."""
    named = {
        label.name.removesuffix("_LEFT").removesuffix("_RIGHT").replace("_", " ").lower(): label for label in Label
    }
    return [(name, "#{:02x}{:02x}{:02x}".format(*_COLOURS[label])) for name, label in named.items()]
