"""Nearest neighbours in point clouds.

Legend: N query points, M points to search.
"""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

BLOCK = 2048
"""Query points whose distances to all others are computed at once on an accelerator: bounds the memory."""


def nearest(points: Tensor, others: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances and indices (N, k) of the k = min(count, M) nearest of `others` (M, 3) to each of `points` (N, 3), nearest first.

    On a CPU by a k-d tree; on an accelerator by all distances, in blocks that fit in memory. No gradients.
    """
    count = min(count, len(others))
    if points.device.type != "cpu" or count == 0:
        with torch.no_grad():
            found = [torch.cdist(block, others).topk(count, largest=False) for block in torch.split(points, BLOCK)]
        return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
    tree = cKDTree(others.detach().numpy())
    distances, indices = tree.query(points.detach().numpy(), k=range(1, count + 1))
    return torch.from_numpy(distances).to(points), torch.from_numpy(indices)


def distance_to(points: Tensor, others: Tensor) -> Tensor:
    """From each of `points` (N, 3) to the nearest of `others` (M, 3; at least one), (N,)."""
    return nearest(points, others, 1)[0][:, 0]
