"""Pruning and growth of an avatar's points between the resolutions of a fit.

Legend: N points.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.schemas.parts import Part

UNIFORM_ODDS = 0.3
"""Odds of being cloned that all points share evenly, while odds of 1 are shared in proportion to the gradient's length."""


def points_to_keep(
    avatar: Avatar, seen: Tensor, inside: Tensor, *, least_seen: float = 0.5, least_opacity: float = 0.08
) -> Tensor:
    """Which points (N,) are kept: those that were seen and are not transparent, and skin that was not seen.

    Skin lies where the rig says, but hair and cloth that were never seen may be anywhere. Until a fit ends, the part logits say
    in which region a point was scattered.

    Args:
        avatar: whose points.
        seen: (N,) opacity with which the point was seen, summed over the pixels of all frames looked at.
        inside: (N,) share of the frames in which the point falls on the person.
        least_seen: pixels above which a point counts as seen.
        least_opacity: a point that is not more opaque counts as transparent.
    """
    may_be_unseen = (avatar.parts != Part.HAIR) & (avatar.parts != Part.CLOTH) & (inside > 0.6)
    return ((seen > least_seen) | may_be_unseen) & (torch.sigmoid(avatar.opacity_logits) > least_opacity)


def grow_points(avatar: Avatar, gradient_length: Tensor, count: int, generator: torch.Generator) -> Avatar:
    """Clone points until there are `count`, most where the loss' gradient is largest.

    A clone lies about half a radius from its parent. Where a point becomes n points, their radii shrink by the fourth root of n.

    Args:
        avatar: what to grow.
        gradient_length: (N,) accumulated length of the position gradient.
        count: points wanted; nothing happens when there are as many already.
        generator: the source of random numbers.
    """
    missing = count - len(avatar)
    if missing <= 0:
        return avatar
    odds = gradient_length / gradient_length.sum().clamp(min=1e-12) + UNIFORM_ODDS / len(avatar)
    device = gradient_length.device
    parents = torch.multinomial(odds.cpu(), missing, replacement=True, generator=generator).to(device)
    clones = torch.zeros(len(avatar), device=device).index_add_(0, parents, torch.ones(missing, device=device))
    shrunk = avatar.log_radii - 0.5 * math.log(2) * torch.log2(1 + clones) / 2
    grown = replace(avatar, log_radii=shrunk)
    grown = grown.select(torch.cat([torch.arange(len(avatar), device=device), parents]))
    step = torch.randn(missing, 3, generator=generator).to(device) * grown.log_radii[len(avatar) :].exp()[:, None] / 2
    offsets = grown.offsets.clone()
    offsets[len(avatar) :] += step
    return replace(grown, offsets=offsets)
