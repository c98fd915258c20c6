"""A multiresolution hash grid: learned features of a place, with which fields learn fine colours in minutes.

A positional encoding needs many layers to combine its waves before a lip has a sharp edge. A cell of a fine grid is learned from
the few points that lie in it. There are far more cells than points, so cells share a table, indexed by a hash of their number.

Source: multiresolution hash encoding (Müller et al., Instant Neural Graphics Primitives, arXiv 2201.05989).

Legend: N points, L levels, C features per level.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

COARSEST_CELLS_PER_UNIT = 16.0
"""Cells per field unit at the first level: 16 mm each, finer than the positional encoding resolves well. Levels halve them."""

TABLE_ENTRIES = 1 << 15
"""Entries of the table of a level."""

FEATURES_PER_LEVEL = 4
"""C: numbers per entry of the table."""

INITIAL_DEVIATION = 1e-2
"""Standard deviation of the entries at the start."""

_HASH_PRIMES = (1, 2654435761, 805459861)


class _WeightedLookup(torch.autograd.Function):
    """Σ_corners weight · table[entry], with gradients to table and weights."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, entries: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(table, entries, weights)
        return (weights[:, None] @ table[entries])[:, 0]

    @staticmethod
    def backward(ctx: Any, by_value: Tensor) -> tuple[Tensor, None, Tensor]:
        table, entries, weights = ctx.saved_tensors
        by_entry = weights[..., None] * by_value[:, None]
        by_table = torch.zeros_like(table).index_add_(0, entries.flatten(), by_entry.flatten(0, 1))
        return by_table, None, (table[entries] @ by_value[..., None])[..., 0]


class HashGrid(nn.Module):
    """Maps a place to the trilinearly interpolated features of the cells around it, on all levels."""

    def __init__(self, levels: int, generator: torch.Generator) -> None:
        super().__init__()
        self.levels = levels
        entries = torch.randn(levels * TABLE_ENTRIES, FEATURES_PER_LEVEL, generator=generator)
        self.table = nn.Parameter(INITIAL_DEVIATION * entries)

    @property
    def width(self) -> int:
        """Number of features of a place, L · C."""
        return self.levels * FEATURES_PER_LEVEL

    def forward(
        self,
        places: Tensor,  # (N, 3) field units
    ) -> Tensor:
        """Features (N, L · C), continuous in the places, differentiable with respect to them and to the table."""
        level = torch.arange(self.levels, device=places.device)
        scaled = places[:, None] * (COARSEST_CELLS_PER_UNIT * 2.0**level).to(places)[:, None]  # (N, L, 3)
        lower = scaled.detach().floor()
        upper = scaled - lower
        x, y, z = torch.stack([1 - upper, upper], dim=-1).unbind(-2)  # (N, L, 2)
        weights = (x[..., :, None, None] * y[..., None, :, None] * z[..., None, None, :]).flatten(2)
        primes = torch.tensor(_HASH_PRIMES, device=places.device)
        first, second, third = (
            (lower.long()[..., None] + torch.arange(2, device=places.device)) * primes[:, None]
        ).unbind(-2)
        corners = (first[..., :, None, None] ^ second[..., None, :, None] ^ third[..., None, None, :]).flatten(2)
        entries = corners % TABLE_ENTRIES + TABLE_ENTRIES * level[:, None]
        found = _WeightedLookup.apply(self.table, entries.flatten(0, 1), weights.flatten(0, 1))  # type: ignore[no-untyped-call]
        return cast(Tensor, found).view(len(places), self.width)
