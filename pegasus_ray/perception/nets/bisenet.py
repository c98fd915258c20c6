"""Part maps by a BiSeNet of CelebAMask-HQ's 19 classes."""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.perception.assets.files import path_of
from pegasus_ray.perception.nets.label_map import onto_frame, portrait_square
from pegasus_ray.perception.nets.litert import LiteRtNet
from pegasus_ray.perception.nets.square import Bytes, Floats

BISENET_MODEL: Final = "bisenetv2_celebamaskhq_448.tflite"
_INPUT_SIDE: Final = 448  # pixels


class BisenetParser:
    """A BiSeNet that sees a square around the face; a `FaceParser`.

    Args:
        threads: how many threads the network may use.

    Raises:
        PegasusError: ASSET_MISSING or ASSET_CORRUPT.
    """

    def __init__(self, *, threads: int = 2) -> None:
        self._net = LiteRtNet(path_of(BISENET_MODEL).read_bytes(), threads=threads)

    def __call__(self, rgb: Bytes, points: Floats, matte: Bytes) -> Bytes:
        """Labels (W, W); see `FaceParser`."""
        square = portrait_square(points)
        values = square.sample(rgb, _INPUT_SIDE).astype(np.float32) / 127.5 - 1
        seen = self._net(values)[0].reshape(_INPUT_SIDE, _INPUT_SIDE).astype(np.uint8)
        return onto_frame(seen, square, points, matte)
