"""Frames of several videos of one person, each video under its own latent code.

Legend: T frames, B a batch of them, S side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedFrames:
    """Which video each frame of a fit comes from, and the code of each video."""

    source: str  # name of the videos, for error messages
    video: Tensor  # (T,) int64: number of each frame's video; 0 is the person's own
    codes: tuple[Mapping[str, int], ...]  # per video: block → number of its code; 0 where a block is not named
    masks: Tensor | None = None  # (T, S, S) 0–1: the synthesised part
    normals: Tensor | None = None  # (T, S, S, 3) uint8 `normals_to_rgb`: pseudo ground truth, in camera space

    @staticmethod
    def under_one_code(frames: int, source: str = "") -> CodedFrames:
        """All frames of one video, under one code."""
        return CodedFrames(source=source, video=torch.zeros(frames, dtype=torch.int64), codes=({},))

    def choices(self) -> dict[str, int]:
        """How many codes each block needs."""
        names = {name for code in self.codes for name in code}
        return {name: 1 + max(code.get(name, 0) for code in self.codes) for name in names}

    def code(self, index: Tensor) -> Mapping[str, int]:
        """The code of a batch (B,), whose frames share one."""
        return self.codes[int(self.video[index[0]])]

    def own_frames(self) -> Tensor:
        """Numbers of the frames of the person's own video."""
        return (self.video == 0).nonzero()[:, 0]

    def synthesised(self, index: Tensor, size: int) -> Tensor | None:
        """Masks (B, size, size) of the synthesised part, where there are any."""
        if self.masks is None:
            return None
        masks = self.masks[index][:, None]
        return nn.functional.interpolate(masks, (size, size), mode="area")[:, 0]

    def pseudo_normals(self, index: Tensor, size: int) -> Tensor | None:
        """Pseudo ground truth normals (B, size, size, 3), of unit length or zero, where there are any."""
        if self.normals is None:
            return None
        normals = self.normals[index].movedim(-1, 1).float() / 127 - 1
        resized = nn.functional.interpolate(normals, (size, size), mode="area")
        unit: Tensor = nn.functional.normalize(resized, dim=1) * (resized.norm(dim=1, keepdim=True) > 0.5)
        return unit.movedim(1, -1)

    def batches(self, size: int, generator: torch.Generator, *, without: Tensor) -> list[list[int]]:
        """All frames but `without`, shuffled, in batches of `size` frames of one code.

        The last batch of a video is filled up with its first frames; a video of fewer than `size` frames is one smaller batch.
        """
        left = torch.ones(len(self.video), dtype=torch.bool)
        left[without] = False
        order = torch.randperm(len(self.video), generator=generator)
        made = []
        for number in range(len(self.codes)):
            own = order[(self.video[order] == number) & left[order]].tolist()
            full = (own + own[: -len(own) % size]) if len(own) >= size else own
            made += [full[start : start + size] for start in range(0, len(full), size)]
        mixed = torch.randperm(len(made), generator=generator).tolist() if len(self.codes) > 1 else range(len(made))
        return [made[place] for place in mixed]
