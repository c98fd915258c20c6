"""Which frames share a code, and what a perceptual network sees in them.

Legend: T frames, B a batch of them, S side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fit.perceptual import Features, look

KEPT_BYTES = 2 * 2**30
"""How much memory the features of real frames may take; those that do not fit are computed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """Frames of several videos of one person, each under the code of its video."""

    source: str  # for messages
    of: Tensor  # (T,) int64: number of the video
    codes: tuple[Mapping[str, int], ...]  # a choice of blocks a video
    masks: Tensor | None = None  # (T, S, S) 0–1: the synthesised part
    normals: Tensor | None = None  # (T, S, S, 3) uint8 `normals_to_rgb`: pseudo ground truth, in camera space

    @staticmethod
    def single(frames: int, source: str = "") -> Clips:
        """All frames under one code."""
        return Clips(source=source, of=torch.zeros(frames, dtype=torch.int64), codes=({},))

    def choices(self) -> dict[str, int]:
        """How many codes each block needs."""
        names = {name for code in self.codes for name in code}
        return {name: 1 + max(code.get(name, 0) for code in self.codes) for name in names}

    def code(self, index: Tensor) -> Mapping[str, int]:
        """The code of a batch, whose frames share one."""
        return self.codes[int(self.of[index[0]])]

    def members(self, index: Tensor, size: int) -> Tensor | None:
        """Masks (B, size, size) of the synthesised part, where there are any."""
        if self.masks is None:
            return None
        masks = self.masks[index][:, None]
        return nn.functional.interpolate(masks, (size, size), mode="area")[:, 0]

    def facing(self, index: Tensor, size: int) -> Tensor | None:
        """Pseudo normals (B, size, size, 3) of unit length or zero, where there are any."""
        if self.normals is None:
            return None
        normals = self.normals[index].movedim(-1, 1).float() / 127 - 1
        resized = nn.functional.interpolate(normals, (size, size), mode="area")
        unit: Tensor = nn.functional.normalize(resized, dim=1) * (resized.norm(dim=1, keepdim=True) > 0.5)
        return unit.movedim(1, -1)

    def batches(self, size: int, generator: torch.Generator, *, without: Tensor) -> list[list[int]]:
        """All frames but some, shuffled, in batches of one code; the last of a video is filled up from its start."""
        left = torch.ones(len(self.of), dtype=torch.bool)
        left[without] = False
        order = torch.randperm(len(self.of), generator=generator)
        made = []
        for number in range(len(self.codes)):
            own = order[(self.of[order] == number) & left[order]].tolist()
            full = (own + own[: -len(own) % size]) if len(own) >= size else own
            made += [full[start : start + size] for start in range(0, len(full), size)]
        mixed = torch.randperm(len(made), generator=generator).tolist() if len(self.codes) > 1 else range(len(made))
        return [made[place] for place in mixed]


class Looking:
    """Perceptual features of the real frames, kept as half-precision numbers while there is room."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.kept: dict[tuple[int, int], list[Tensor]] = {}
        self.bytes = 0

    def features(self, index: Tensor, images: Tensor) -> Features:
        """Features of frames `index` (B,) whose pictures are (B, S, S, 3)."""
        rows = [self._of(number, image) for number, image in zip(index.tolist(), images, strict=True)]
        return [torch.stack(parts).float() for parts in zip(*rows, strict=True)]

    def _of(self, number: int, image: Tensor) -> list[Tensor]:
        key = (number, len(image))
        if key in self.kept:
            return self.kept[key]
        with torch.no_grad():
            found = [part[0].half() for part in look(self.network, image[None])]
        size = sum(part.numel() * part.element_size() for part in found)
        if self.bytes + size <= KEPT_BYTES:
            self.kept[key] = found
            self.bytes += size
        return found
