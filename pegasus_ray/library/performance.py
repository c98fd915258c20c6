"""How a head moves before a camera: what drives an avatar, frame by frame.

Legend: T frames, E expressions.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Rig parameters and camera of a clip, a row a frame.

    Camera space is OpenCV's: x right, y down, z away from the camera, metres. A head's or torso's pose is a rotation vector
    (radians) and a translation (metres) that takes the rig's rest space, flipped to face the camera, to camera space; zero
    rotation looks into the camera.
    """

    expression: Floats  # (T, E)
    head: Floats  # (T, 6) rotation vector, translation
    torso: Floats  # (T, 6) rotation vector, translation
    jaw: Floats  # (T, 3) rotation vector of the jaw joint; zero on the open rig, whose jaw the expression jawOpen moves
    eyes: Floats  # (T, 6) rotation vectors of eye.L and eye.R; zero on the open rig, whose gaze the expressions move
    camera: Floats  # (T, 3) focal length, principal point x and y, all in sides of the square crop

    def __len__(self) -> int:
        return len(self.expression)


DRIVING: Final = tuple(field.name for field in fields(Performance))
"""Names of the fields of `Performance`, which are also columns of the tables."""
