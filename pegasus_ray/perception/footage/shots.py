"""Where a video is cut: which of its frames were taken by one camera from one place.

Two frames belong to one shot if most of the picture is alike once a change of exposure is taken out; or, if the size of the
face changed at once, only if nearly all of the picture is alike. A shot that the video returns to is the same shot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from pegasus_ray.perception.nets.square import Bytes, Floats

_COMPARED_SIDE: Final = 48  # pixels, of the small picture that is compared
_CHANGED_PIXEL: Final = 16.0  # of 255 in L, a or b: a pixel that differs by more shows something else
_CUT_SHARE: Final = 0.65  # of changed pixels: a head that moves about reaches 0.5, another scene begins at 0.8
_MAX_GROWTH: Final = 1.4  # of the face from one frame to the next that is used: nobody leans in faster than that
_GROWN_CUT_SHARE: Final = 0.2  # of changed pixels, where the face grew or shrank by more


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The features of a frame that are compared to find cuts."""

    small: Floats  # (48, 48, 3) Lab, blurred, the lightness less its mean
    face: float | None = None  # side of the largest face in pixels

    @staticmethod
    def of(rgb: Bytes, face: float | None = None) -> View:
        """From a frame (H, W, 3)."""
        small = cv2.resize(rgb, (_COMPARED_SIDE, _COMPARED_SIDE), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.5), cv2.COLOR_RGB2LAB).astype(np.float32)
        lab[..., 0] -= lab[..., 0].mean()
        return View(small=lab, face=face)

    def continues(self, earlier: View) -> bool:
        """Whether this frame may be of the same shot as an earlier one."""
        changed = float((np.abs(self.small - earlier.small).max(-1) > _CHANGED_PIXEL).mean())
        growth = 1.0 if self.face is None or earlier.face is None else self.face / earlier.face
        return changed < (_CUT_SHARE if 1 / _MAX_GROWTH < growth < _MAX_GROWTH else _GROWN_CUT_SHARE)


class Shots:
    """Numbers the shots of a video as its frames come."""

    def __init__(self) -> None:
        self._last: list[View] = []  # the last frame of each shot
        self._current = -1

    def place(self, view: View) -> int:
        """The number of the shot that the next frame belongs to: the current one, an earlier one, or a new one."""
        order = sorted(range(len(self._last)), key=lambda shot: shot != self._current)
        found = next((shot for shot in order if view.continues(self._last[shot])), None)
        if found is None:
            self._last.append(view)
            found = len(self._last) - 1
        self._last[found] = view
        self._current = found
        return found
