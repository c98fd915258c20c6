"""Pairing the points of two clouds, near with near, so that one cloud can morph into the other with short moves.

Legend: n points of the first cloud, m of the second.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pegasus_ray.avatar.points.neighbours import distance_to, nearest

NEIGHBOURS = 24
"""Candidates of each point; one whose candidates are all taken is paired with what is left over."""


def match_points(first: Tensor, second: Tensor) -> Tensor:
    """For each point of `first` (n, 3) a point of `second` (m, 3), m ≤ n: indices (n,).

    First every point of `second` is paired once, with a point of `first` near to it, nearest pairs first. Then each point of
    `first` that is left over is paired with the nearest point of `second`. (An exact assignment would cost n³.)
    """
    count, other = len(first), len(second)
    candidates = min(NEIGHBOURS, count)
    distance, found = (answer.flatten() for answer in nearest(second, first, candidates))
    mine = found.tolist()
    taken, paired = [-1] * count, [False] * other
    for pair in distance.argsort(stable=True).tolist():
        theirs, here = pair // candidates, mine[pair]
        if taken[here] < 0 and not paired[theirs]:
            taken[here], paired[theirs] = theirs, True
    matched = torch.tensor(taken, device=first.device)
    free, left = (matched < 0).nonzero()[:, 0], (~torch.tensor(paired, device=first.device)).nonzero()[:, 0]
    if len(left):
        near = distance_to(first[free], second[left]).argsort(stable=True)[: len(left)]
        matched[free[near]] = left[pair_points(first[free[near]], second[left])]
        free = (matched < 0).nonzero()[:, 0]
    if len(free):
        matched[free] = nearest(first[free], second, 1)[1][:, 0]
    return matched


def pair_points(first: Tensor, second: Tensor) -> Tensor:
    """For each point of `first` (n, 3) a different point of `second` (n, 3): indices (n,).

    Both clouds are halved at their medians along the axis of their largest extent, again and again, until single points are left.
    This costs n log² n and pairs near points.
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
