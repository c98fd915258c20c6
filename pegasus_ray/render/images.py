"""Contact sheets: many pictures joined into one.

Legend: H, W height and width in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pegasus_ray.schemas.errors import PegasusError, Reason

Bytes = npt.NDArray[np.uint8]


def contact_sheet(
    images: Sequence[Bytes],  # (H, W, 3) each, of one size
    columns: int,
    gap: int = 2,
) -> Bytes:
    """Pictures in rows of `columns` on white, `gap` pixels apart: (rows·(H + gap) − gap, columns·(W + gap) − gap, 3).

    Raises:
        PegasusError: BAD_CONFIG if there are none, they differ in shape, or there is no column.
    """
    if not images or columns < 1 or len({image.shape for image in images}) != 1:
        raise PegasusError(Reason.BAD_CONFIG, "a sheet needs pictures, all of one shape, and one column at least")
    height, width, channels = images[0].shape
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, dtype=np.uint8)
    for number, image in enumerate(images):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet
