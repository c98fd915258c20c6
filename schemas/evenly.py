"""A few items out of many, evenly spaced."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def evenly(count: int, most: int) -> npt.NDArray[np.int64]:
    """Numbers of at most `most` out of `count` items, in order, each once, the first and the last among them.

    With `most` 1 it is the first alone; where `count` is 0 there are none.
    """
    return np.unique(np.linspace(0, count - 1, max(0, min(most, count))).round().astype(np.int64))
