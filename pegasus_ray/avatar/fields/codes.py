"""The latent code z: one block for the identity and one for each attribute (paper §4.1, "Latent Code Setting" of §4.3).

Legend: D blocks, C learnable numbers in a block.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pegasus_ray.schemas.parts import Attribute

IDENTITY = "identity"
BLOCKS = (IDENTITY, *(attribute.value for attribute in Attribute))
"""The blocks of z in their order."""
INITIAL_DEVIATION = 0.25
"""Standard deviation of the codes at the start."""


class CodeBook(nn.Module):
    """Learnable codes: each block has one or several codes of C numbers, to which a one-hot vector for the block is appended.

    Args:
        choices: number of codes per block; a block that is not named has one.
        size: C.
        generator: the source of random numbers.
    """

    def __init__(self, choices: Mapping[str, int], size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.size = size
        self.blocks = nn.ParameterDict(
            {name: INITIAL_DEVIATION * torch.randn(choices.get(name, 1), size, generator=generator) for name in BLOCKS}
        )

    @property
    def width(self) -> int:
        """Length of z: D · (C + D)."""
        return len(BLOCKS) * (self.size + len(BLOCKS))

    @property
    def choices(self) -> dict[str, int]:
        """Number of codes per block."""
        return {name: len(block) for name, block in self.blocks.items()}

    def forward(self, chosen: Mapping[str, int]) -> Tensor:
        """The code z (D · (C + D),) of a choice per block; a block that is not named takes its first, the person's own."""
        return self.join({name: self.blocks[name][number] for name, number in chosen.items()})

    def join(self, numbers: Mapping[str, Tensor]) -> Tensor:
        """The code z (D · (C + D),) from learnable numbers (C,) per block, which may lie between learned ones.

        A block that is not named takes its first code, as in `forward`.
        """
        one_hot = torch.eye(len(BLOCKS)).to(self.blocks[IDENTITY])
        each = [numbers.get(name, self.blocks[name][0]) for name in BLOCKS]
        return torch.cat([torch.cat(pair) for pair in zip(each, one_hot, strict=True)])
