"""The latent code z: one block for the identity and one an attribute (paper §4.1, "Latent Code Setting" of §4.3).

Legend: D blocks, C numbers a block.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pegasus_ray.schemas.parts import Attribute

IDENTITY = "identity"
BLOCKS = (IDENTITY, *(attribute.value for attribute in Attribute))
DEVIATION = 0.25


class CodeBook(nn.Module):
    """Learnable codes: a few choices a block, each C numbers that begin as N(0, 0.25); beside them a one-hot names the block."""

    def __init__(self, choices: Mapping[str, int], size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.size = size
        self.blocks = nn.ParameterDict(
            {name: DEVIATION * torch.randn(choices.get(name, 1), size, generator=generator) for name in BLOCKS}
        )

    @property
    def width(self) -> int:
        """Length of z: D · (C + D)."""
        return len(BLOCKS) * (self.size + len(BLOCKS))

    @property
    def choices(self) -> dict[str, int]:
        """How many codes each block has."""
        return {name: len(block) for name, block in self.blocks.items()}

    def forward(self, chosen: Mapping[str, int]) -> Tensor:
        """Z (D · (C + D),) of the choice named a block; a block that is not named takes its first, the person's own."""
        return self.join({name: self.blocks[name][number] for name, number in chosen.items()})

    def join(self, numbers: Mapping[str, Tensor]) -> Tensor:
        """Z (D · (C + D),) of learnable numbers (C,) a block, which may lie between learned ones; else as `forward`."""
        marks = torch.eye(len(BLOCKS)).to(self.blocks[IDENTITY])
        each = [numbers.get(name, self.blocks[name][0]) for name in BLOCKS]
        return torch.cat([torch.cat(pair) for pair in zip(each, marks, strict=True)])

    def learned(self, chosen: Mapping[str, int]) -> Tensor:
        """The learnable numbers alone, (D, C), of a choice: what the prior on codes looks at."""
        return torch.stack([self.blocks[name][chosen.get(name, 0)] for name in BLOCKS])
