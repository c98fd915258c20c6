"""Part maps by a SegFormer from the Hub: weights in safetensors, none of the code of its repository."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import SafetensorError

from pegasus_ray.perception.nets.label_map import onto_frame, portrait_square
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Label

_INPUT_SIDE: Final = 512  # pixels
_IMAGENET_MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)  # as in the published preprocessing
_IMAGENET_DEVIATION: Final = np.array([0.229, 0.224, 0.225], np.float32)

LABEL_OF_NAME: Final = {
    "background": Label.BACKGROUND,
    "skin": Label.SKIN,
    "nose": Label.NOSE,
    "eye_g": Label.GLASSES,
    "l_eye": Label.EYE_LEFT,
    "r_eye": Label.EYE_RIGHT,
    "l_brow": Label.BROW_LEFT,
    "r_brow": Label.BROW_RIGHT,
    "l_ear": Label.EAR_LEFT,
    "r_ear": Label.EAR_RIGHT,
    "mouth": Label.MOUTH,
    "u_lip": Label.LIP_UPPER,
    "l_lip": Label.LIP_LOWER,
    "hair": Label.HAIR,
    "hat": Label.HAT,
    "ear_r": Label.EARRING,
    "neck_l": Label.NECKLACE,
    "neck": Label.NECK,
    "cloth": Label.CLOTH,
}
"""CelebAMask-HQ's class names. Models trained on it number the classes differently, so they are matched by name."""


class SegformerParser:
    """A SegFormer whose classes have CelebAMask-HQ's names; a `FaceParser`.

    Args:
        folder: holds `config.json` and `model.safetensors`.

    Raises:
        PegasusError: ASSET_MISSING where the package `transformers` is not installed; ASSET_CORRUPT where the files
            cannot be read as a SegFormer, or its classes have other names.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from transformers import SegformerForSemanticSegmentation
        except ImportError as error:
            message = "the package is not installed; pip install 'pegasus-ray[segformer]'"
            raise PegasusError(Reason.ASSET_MISSING, message, subject="transformers") from error
        try:
            self._net = SegformerForSemanticSegmentation.from_pretrained(
                str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False
            ).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            message = f"cannot be read as a SegFormer: {error}; fetch it again"
            raise PegasusError(Reason.ASSET_CORRUPT, message, subject=folder.name) from error
        names = self._net.config.id2label
        unknown = [name for name in names.values() if name not in LABEL_OF_NAME]
        if unknown:
            message = f"has classes that are no part of a face: {', '.join(unknown[:4])}; give a face parser"
            raise PegasusError(Reason.ASSET_CORRUPT, message, subject=folder.name)
        self._labels = np.array([LABEL_OF_NAME[names[place]] for place in range(len(names))], np.uint8)

    def __call__(self, rgb: Bytes, points: Floats, matte: Bytes) -> Bytes:
        """Labels (W, W); see `FaceParser`."""
        square, size = portrait_square(points), (_INPUT_SIDE, _INPUT_SIDE)
        values = (square.sample(rgb, _INPUT_SIDE).astype(np.float32) / 255 - _IMAGENET_MEAN) / _IMAGENET_DEVIATION
        with torch.no_grad():
            logits = self._net(pixel_values=torch.from_numpy(values).permute(2, 0, 1)[None]).logits
            fine = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        return onto_frame(self._labels[fine[0].argmax(0).numpy()], square, points, matte)
