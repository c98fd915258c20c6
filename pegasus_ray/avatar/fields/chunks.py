"""Evaluating networks at many points in bounded memory, by chunks and activation checkpointing."""

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
    """`function` of rows, with its results joined along the first axis.

    Up to `chunk` rows are done at once. More rows are done `chunk` at a time. Where gradients are wanted, only the inputs of
    each chunk are kept, and its activations are computed again in the backward pass.
    """
    if len(rows) <= chunk:
        return function(rows)
    recompute = torch.is_grad_enabled()
    done = [
        checkpoint(function, part, use_reentrant=False, preserve_rng_state=False) if recompute else function(part)
        for part in torch.split(rows, chunk)
    ]
    return tuple(torch.cat(parts) for parts in zip(*done, strict=True))
