"""Noise for the colours of surfaces. It is looked up by position on the surface, not by pixel, so it moves with the surface.

Legend: N positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates

from pegasus_ray.studio.arrays import Floats

LATTICE_SIDE: Final = 48  # lattice points along each edge of the periodic volume


@dataclass(frozen=True, slots=True)
class Noise:
    """A periodic volume of white noise, read with linear interpolation; variance about one at lattice points."""

    volume: Floats  # (LATTICE_SIDE, LATTICE_SIDE, LATTICE_SIDE)

    @staticmethod
    def of(seed: int) -> Noise:
        """The noise of a seed."""
        rng = np.random.default_rng([seed, 11])
        return Noise(rng.standard_normal((LATTICE_SIDE, LATTICE_SIDE, LATTICE_SIDE), dtype=np.float32))

    def __call__(
        self,
        places: Floats,  # (N, 3) metres
        grain: float,  # metres from one lattice point to the next
        channel: int = 0,  # shifts the lookup, so that channels are independent of one another
    ) -> Floats:
        """Noise (N,) at positions."""
        lattice = (places / np.float32(grain) + np.float32(7.31 * channel)).T
        return np.asarray(map_coordinates(self.volume, lattice, order=1, mode="grid-wrap"), dtype=np.float32)


def value_noise(
    values: Floats,  # (N,)
    lanes: npt.NDArray[np.int64],  # (N,) which of many independent sequences of noise
) -> Floats:
    """One-dimensional value noise (N,) in 0–1: random at the integers, smooth between; the same for the same (value, lane)."""
    below = np.floor(values).astype(np.int64)
    share = values - below
    share = share * share * (3 - 2 * share)
    return np.asarray(_hash(below, lanes) * (1 - share) + _hash(below + 1, lanes) * share, dtype=np.float32)


def _hash(step: npt.NDArray[np.int64], lane: npt.NDArray[np.int64]) -> Floats:
    """A pseudo-random number in 0–1 from two integers."""
    mixed = (step * 374761393 + lane * 668265263) & 0xFFFFFFFF
    mixed = ((mixed ^ (mixed >> 13)) * 1274126177) & 0xFFFFFFFF
    return np.asarray((mixed ^ (mixed >> 16)) & 0xFFFF, dtype=np.float32) / np.float32(65535)


def smoothstep(low: float, high: float, values: Floats) -> Floats:
    """0 at `low` and before, 1 at `high` and beyond, smooth between; with `low` above `high` it falls instead of rising."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)
