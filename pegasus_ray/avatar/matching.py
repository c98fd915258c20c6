"""Pairing two clouds of points one to one, near with near, so that one can turn into the other without crossing itself."""

from __future__ import annotations

import torch
from torch import Tensor


def pair_points(first: Tensor, second: Tensor) -> Tensor:
    """For each point of `first` (n, 3) a different point of `second` (n, 3): indices (n,).

    Both clouds are halved at their medians along the direction in which they spread most, again and again, until single
    points are left: n log² n, and near points stay near. (An exact assignment is n³.)
    """
    paired = torch.empty(len(first), dtype=torch.int64, device=first.device)
    stack = [(torch.arange(len(first), device=first.device), torch.arange(len(second), device=first.device))]
    while stack:
        mine, theirs = stack.pop()
        if len(mine) == 1:
            paired[mine] = theirs
            continue
        spread = (first[mine].amax(0) - first[mine].amin(0)) + (second[theirs].amax(0) - second[theirs].amin(0))
        axis = int(spread.argmax())
        mine, theirs = mine[first[mine, axis].argsort(stable=True)], theirs[second[theirs, axis].argsort(stable=True)]
        half = len(mine) // 2
        stack += [(mine[:half], theirs[:half]), (mine[half:], theirs[half:])]
    return paired
