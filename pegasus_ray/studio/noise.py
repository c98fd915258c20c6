"""Noise that stays on the thing it colours: values looked up by place, not by pixel.

Legend: N places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

Floats = npt.NDArray[np.float32]

SIDE = 48


@dataclass(frozen=True, slots=True)
class Noise:
    """A periodic volume of white noise, read with linear interpolation; variance about one at lattice points."""

    volume: Floats  # (SIDE, SIDE, SIDE)

    @staticmethod
    def of(seed: int) -> Noise:
        """The noise of a seed."""
        rng = np.random.default_rng([seed, 11])
        return Noise(rng.standard_normal((SIDE, SIDE, SIDE), dtype=np.float32))

    def __call__(
        self,
        places: Floats,  # (N, 3) metres
        grain: float,  # metres from one lattice point to the next
        channel: int = 0,  # independent looks at the same volume
    ) -> Floats:
        """Noise (N,) at places."""
        lattice = (places / np.float32(grain) + np.float32(7.31 * channel)).T
        return np.asarray(map_coordinates(self.volume, lattice, order=1, mode="grid-wrap"), dtype=np.float32)


def ripple(
    values: Floats,  # (N,)
    lanes: npt.NDArray[np.int64],  # (N,) which of many independent lines of noise
) -> Floats:
    """Smooth noise in 0–1 along lines, one step a unit, the same for the same (value, lane)."""
    below = np.floor(values).astype(np.int64)
    share = values - below
    share = share * share * (3 - 2 * share)
    return np.asarray(_hash(below, lanes) * (1 - share) + _hash(below + 1, lanes) * share, dtype=np.float32)


def _hash(step: npt.NDArray[np.int64], lane: npt.NDArray[np.int64]) -> Floats:
    """A number in 0–1 from two integers."""
    mixed = (step * 374761393 + lane * 668265263) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return np.asarray((mixed ^ (mixed >> 16)) & 0xFFFF, dtype=np.float32) / np.float32(65535)


def smoothstep(low: float, high: float, values: Floats) -> Floats:
    """0 below `low`, 1 above `high`, smooth between; `low` may be the larger."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)
