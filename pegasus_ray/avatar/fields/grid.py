"""Learned features of a place, by trilinear interpolation in grids finer and finer: what lets fields learn colours in minutes.

Waves (`fields.encode`) have to be put together by many layers before a lip has an edge; a cell of a fine grid is learned from the
few points that lie in it. Cells share a table by a hash of their number, as there are far more of them than points.

Source: multiresolution hash encoding (Müller et al., Instant Neural Graphics Primitives, arXiv 2201.05989).

Legend: N points, L levels, C features a level.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

COARSEST = 16.0
"""Cells a field unit at the first level: 16 mm, below what the waves say well; each level halves them."""

TABLE = 1 << 15
"""Entries a level."""

FEATURES = 4
"""C."""

SPREAD = 1e-2
"""Deviation of the entries at the start."""

_PRIMES = (1, 2654435761, 805459861)


class _Blend(torch.autograd.Function):
    """Σ_corners weight · table[entry], with gradients to table and weights."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, entries: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, entries, weights)
        return (weights[:, None] @ table[entries])[:, 0]

    @staticmethod
    def backward(ctx: Any, by_value: Tensor) -> tuple[Tensor, None, Tensor]:
        table, entries, weights = ctx.saved_tensors
        spread = weights[..., None] * by_value[:, None]
        by_table = torch.zeros_like(table).index_add_(0, entries.flatten(), spread.flatten(0, 1))
        return by_table, None, (table[entries] @ by_value[..., None])[..., 0]


class Grid(nn.Module):
    """A place to the features of its cells."""

    def __init__(self, levels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.levels = levels
        self.table = nn.Parameter(SPREAD * torch.randn(levels * TABLE, FEATURES, generator=generator))

    @property
    def width(self) -> int:
        """L · C."""
        return self.levels * FEATURES

    def forward(
        self,
        places: Tensor,  # (N, 3) field units
    ) -> Tensor:
        """Features (N, L · C), continuous in the places and differentiable by them and by the tables."""
        level = torch.arange(self.levels, device=places.device)
        scaled = places[:, None] * (COARSEST * 2.0**level).to(places)[:, None]  # (N, L, 3)
        lower = scaled.detach().floor()
        upper = scaled - lower
        x, y, z = torch.stack([1 - upper, upper], dim=-1).unbind(-2)  # (N, L, 2)
        weights = (x[..., :, None, None] * y[..., None, :, None] * z[..., None, None, :]).flatten(2)
        primes = torch.tensor(_PRIMES, device=places.device)
        first, second, third = (
            (lower.long()[..., None] + torch.arange(2, device=places.device)) * primes[:, None]
        ).unbind(-2)
        corners = (first[..., :, None, None] ^ second[..., None, :, None] ^ third[..., None, None, :]).flatten(2)
        entries = corners % TABLE + TABLE * level[:, None]
        found = cast(Tensor, _Blend.apply(self.table, entries.flatten(0, 1), weights.flatten(0, 1)))  # type: ignore[no-untyped-call]
        return found.view(len(places), self.width)
