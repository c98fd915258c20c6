"""Networks over many points in bounded memory: chunk by chunk, computed again on the way back."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def in_chunks(
    function: Callable[[Tensor], tuple[Tensor, ...]],
    rows: Tensor,  # (N, ...)
    chunk: int,
) -> tuple[Tensor, ...]:
    """`function` of rows, results joined along the first axis.

    Up to `chunk` rows are done at once. More are done `chunk` at a time, and where gradients are wanted only each
    chunk's inputs are kept: its inside is computed again for the backward pass.
    """
    if len(rows) <= chunk:
        return function(rows)
    again = torch.is_grad_enabled()
    done = [
        checkpoint(function, part, use_reentrant=False, preserve_rng_state=False) if again else function(part)
        for part in torch.split(rows, chunk)
    ]
    return tuple(torch.cat(parts) for parts in zip(*done, strict=True))
