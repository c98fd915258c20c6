"""Frames for the training of a generative avatar, and the codes under which it has to reproduce them.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from pegasus_ray.avatar.generative.avatar import OWN
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.schemas.parts import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedClip:
    """Frames under one choice of codes: the target's own, part-swapped ones, or a whole other person's."""

    images: Tensor  # (T, S, S, 3) uint8 on white
    mattes: Tensor  # (T, S, S) uint8
    parts: Tensor | None  # (T, S, S) uint8 mask of the one attribute that is borrowed
    parameters: Parameters
    normals: Tensor | None = None  # (T, S, S, 3) uint8 `normals_to_rgb`: pseudo ground truth, in camera space
    sources: Mapping[Attribute, str] = field(default_factory=dict)  # the target's own code where none is named
    identity: str = OWN

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def borrowed(self) -> Attribute | None:
        """The one attribute that is another person's; None where there is none or there are several."""
        return next(iter(self.sources)) if len(self.sources) == 1 and self.identity == OWN else None
