"""Pruning and growth of an avatar's points between the stages of a fit.

Legend: N points.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.schemas.parts import Part


def worth_keeping(
    avatar: Avatar, seen: Tensor, inside: Tensor, *, least_seen: float = 0.5, least_opacity: float = 0.08
) -> Tensor:
    """Which points (N,) are to stay: those that were seen and are not transparent, and skin that was not seen.

    Skin lies where the rig says; hair and cloth that nobody has seen may be anywhere. Until a fit's end an avatar's part
    logits say where its points began.

    Args:
        avatar: whose points.
        seen: (N,) pixels of weight over all frames looked at; `least_seen` is seen.
        inside: (N,) share of the frames in which the point falls on the person.
        least_seen: pixels.
        least_opacity: of a point that is not transparent.
    """
    part = avatar.part_logits.argmax(-1)
    vouched = (part != Part.HAIR) & (part != Part.CLOTH) & (inside > 0.6)
    return ((seen > least_seen) | vouched) & (torch.sigmoid(avatar.opacity_logits) > least_opacity)


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
