"""Pruning and growth of an avatar's points between the stages of a fit.

Legend: N points.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.model import Avatar


def worth_keeping(avatar: Avatar, seen: Tensor, *, least_seen: float = 0.5, least_opacity: float = 0.08) -> Tensor:
    """Which points (N,) were seen, by `least_seen` pixels of weight over all frames looked at, and are not transparent."""
    return (seen > least_seen) & (torch.sigmoid(avatar.opacity_logits) > least_opacity)


def grow_points(avatar: Avatar, pull: Tensor, count: int, generator: torch.Generator) -> Avatar:
    """Clone points until there are `count`, most where the loss pulls hardest.

    A clone lies half a radius from its parent; parents and clones shrink so that the surface they cover stays the same.

    Args:
        avatar: what to grow.
        pull: (N,) accumulated length of the position gradient.
        count: points wanted; nothing happens when there are as many already.
        generator: the source of chance.
    """
    missing = count - len(avatar)
    if missing <= 0:
        return avatar
    odds = pull / pull.sum().clamp(min=1e-12) + 0.3 / len(avatar)
    parents = torch.multinomial(odds.cpu(), missing, replacement=True, generator=generator).to(pull.device)
    clones = torch.zeros(len(avatar), device=pull.device).index_add_(
        0, parents, torch.ones(missing, device=pull.device)
    )
    shrunk = avatar.log_radii - 0.5 * math.log(2) * torch.log2(1 + clones) / 2
    grown = replace(avatar, log_radii=shrunk)
    grown = grown.select(torch.cat([torch.arange(len(avatar), device=pull.device), parents]))
    step = (
        torch.randn(missing, 3, generator=generator).to(pull.device) * grown.log_radii[len(avatar) :].exp()[:, None] / 2
    )
    offsets = grown.offsets.clone()
    offsets[len(avatar) :] += step
    return replace(grown, offsets=offsets)
