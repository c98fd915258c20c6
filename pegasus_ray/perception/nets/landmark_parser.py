"""Part maps without a parsing network: polygons of landmarks, the matte, colours, and a hair network where there is one.

Legend: W side of the frame in pixels.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets.files import path_of
from pegasus_ray.perception.nets import face_regions as regions
from pegasus_ray.perception.nets.label_map import fill_matte, name_sides
from pegasus_ray.perception.nets.litert import LiteRtNet
from pegasus_ray.perception.nets.mesh_topology import FACE_OVAL, POLYGONS
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.parts import Label

HAIR_MODEL: Final = "hair_segmentation.tflite"
_HAIR_INPUT_SIDE: Final = 512  # pixels


class HairModel:
    """Google's hair segmentation network.

    Args:
        threads: how many threads the network may use.

    Raises:
        PegasusError: ASSET_MISSING or ASSET_CORRUPT.
    """

    def __init__(self, *, threads: int = 2) -> None:
        self._net = LiteRtNet(path_of(HAIR_MODEL).read_bytes(), threads=threads)

    def __call__(self, rgb: Bytes) -> Floats:
        """How much of each pixel is hair, (W, W) 0–1, in a frame (W, W, 3)."""
        side = _HAIR_INPUT_SIDE
        values = np.zeros((side, side, 4), np.float32)  # the fourth channel is the hair of the frame before: none
        values[..., :3] = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_LINEAR) / 255
        logits = self._net(values)[0][0]
        hair = 1 / (1 + np.exp(np.clip(logits[..., 0] - logits[..., 1], -50, 50)))
        return np.asarray(cv2.resize(hair, rgb.shape[1::-1], interpolation=cv2.INTER_AREA))


class LandmarkParser:
    """Parts drawn from the landmarks' polygons, the matte and the face's own colours; a `FaceParser`.

    Args:
        hair: finds hair; without it, hair is found by its colour alone.
    """

    def __init__(self, hair: HairModel | None = None) -> None:
        self._hair = hair

    def __call__(self, rgb: Bytes, points: Floats, matte: Bytes) -> Bytes:
        """Labels (W, W); see `FaceParser`."""
        size = rgb.shape[0]
        person = matte > 127
        face = regions.face_placement(points)
        along, across = regions.coordinates(size, face)
        oval = regions.polygon(points, FACE_OVAL, size)
        under = regions.below_jaw(size, face) & ~oval
        bare = regions.skin_coloured(rgb, points, shade=0.35)
        labels = np.where(under, np.uint8(Label.CLOTH), np.uint8(Label.SKIN)).astype(np.uint8)
        labels[under & bare & (np.abs(across) < 0.55) & (along < 1.0)] = Label.NECK
        labels[~under & ~oval & (np.abs(across) > 0.4) & (along > -0.25)] = Label.EAR_LEFT
        labels[self._find_hair(rgb, points, under, person) & ~(oval & (along > -0.2))] = Label.HAIR
        for label, polygons in POLYGONS.items():
            for indices in polygons:
                labels[regions.polygon(points, indices, size)] = label
        labels[~person] = Label.BACKGROUND
        return fill_matte(name_sides(labels, points), matte)

    def _find_hair(
        self, rgb: Bytes, points: Floats, under: npt.NDArray[np.bool_], person: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.bool_]:
        """Pixels (W, W) of hair.

        With the network: what it says, and what lies above and beside the face without being skin. Without it: what lies
        around the face without being skin, and what is connected to the crown and has its colour.
        """
        along, _ = regions.coordinates(rgb.shape[0], regions.face_placement(points))
        oval = regions.polygon(points, FACE_OVAL, rgb.shape[0])
        outside = ~under & ~oval
        bare = regions.skin_coloured(rgb, points, shade=0.65) & (along > -0.68)
        if self._hair is None:
            crown, face = person & ~oval & (along < -0.68), oval & (along > -0.2)
            return np.asarray((outside & ~bare) | regions.grow_by_colour(rgb, crown, face, person & ~face))
        return np.asarray((self._hair(rgb) > 0.5) | (outside & ~bare & (along < -0.5)))
