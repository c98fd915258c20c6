"""Where a video is cut: which of its frames one camera took, standing in one place.

Two frames belong to one shot when most of the picture is alike once a change of exposure is taken out; where the face has
changed its size at a stroke, when nearly all of it is. A shot that the video comes back to is the same shot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from pegasus_ray.perception.nets.square import Bytes, Floats

_SIDE: Final = 48  # of the small picture that is compared
_UNLIKE: Final = 16.0  # of 255 in L, a or b: the pixel shows something else
_CUT: Final = 0.65  # share of such pixels; a head that moves about reaches 0.5, other places begin at 0.8
_GROWTH: Final = 1.4  # of the face from one frame looked at to the next: nobody leans in so fast,
_MOVED: Final = 0.2  # and where this much of the picture has changed too it is another


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is compared of a frame."""

    small: Floats  # (48, 48, 3) Lab, blurred, the lightness around its mean
    face: float | None = None  # side of the largest face in pixels

    @staticmethod
    def of(rgb: Bytes, face: float | None = None) -> View:
        """From a frame (H, W, 3)."""
        small = cv2.resize(rgb, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(cv2.GaussianBlur(small, (0, 0), 1.5), cv2.COLOR_RGB2LAB).astype(np.float32)
        lab[..., 0] -= lab[..., 0].mean()
        return View(small=lab, face=face)

    def continues(self, earlier: View) -> bool:
        """Whether this may be the same shot some frames later."""
        changed = float((np.abs(self.small - earlier.small).max(-1) > _UNLIKE).mean())
        growth = 1.0 if self.face is None or earlier.face is None else self.face / earlier.face
        return changed < (_CUT if 1 / _GROWTH < growth < _GROWTH else _MOVED)


class Shots:
    """The shots of a video, frame by frame."""

    def __init__(self) -> None:
        self._last: list[View] = []  # of each shot
        self._now = -1

    def place(self, view: View) -> int:
        """The number of the shot that the next frame belongs to: the one at hand, one from before, or a new one."""
        order = sorted(range(len(self._last)), key=lambda shot: shot != self._now)
        found = next((shot for shot in order if view.continues(self._last[shot])), None)
        if found is None:
            self._last.append(view)
            found = len(self._last) - 1
        self._last[found] = view
        self._now = found
        return found
