"""Loss terms of the fit, one small function each (paper §4.3 and the facts on fitting a real video).

Legend: B frames, S side, Z motion components, N points.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """How much each term counts."""

    colour: float = 3.0
    edges: float = 1.5
    square: float = 8.0
    mask: float = 1.0
    relief: float = 0.3  # against points that hover before and behind their neighbours
    offsets: float = 40.0  # a square metre, mean over the points
    position_basis: float = 20.0  # a square metre
    colour_basis: float = 0.02


def colour_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """L1 of images (B, S, S, 3), 0–1."""
    return (rendered - truth).abs().mean()


def square_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of images (B, S, S, 3)."""
    return (rendered - truth).square().mean()


def edge_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """L1 of the images' horizontal and vertical differences: keeps what the eye calls sharp."""
    error = rendered - truth
    return error.diff(dim=1).abs().mean() + error.diff(dim=2).abs().mean()


def mask_loss(alpha: Tensor, matte: Tensor) -> Tensor:
    """L1 of opacity (B, S, S) against the matte, both 0–1."""
    return (alpha - matte).abs().mean()


def relief_loss(offsets: Tensor, alpha: Tensor, *, step: float = 0.012) -> Tensor:
    """How roughly a picture's neighbouring points stand off the rig: keeps points from hovering before and behind a surface.

    The rig's own curvature costs nothing.

    Args:
        offsets: (B, S, S, 3) composited offsets in metres, weighted by opacity.
        alpha: (B, S, S).
        step: metres; a step this large between two pixels costs 1, and a larger one, an edge, no more.
    """
    field = offsets / alpha.clamp(min=0.1)[..., None]
    solid = (alpha > 0.9).to(field)
    across = ((field.diff(dim=1).square().sum(-1) + 1e-10).sqrt() / step).clamp(max=1) * solid[:, 1:] * solid[:, :-1]
    along = (
        ((field.diff(dim=2).square().sum(-1) + 1e-10).sqrt() / step).clamp(max=1) * solid[:, :, 1:] * solid[:, :, :-1]
    )
    return across.mean() + along.mean()


def segment_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of a composited share (B, S, S) 0–1 against a mask (paper Eq. 10's χ)."""
    return torch.nn.functional.binary_cross_entropy(rendered.clamp(1e-4, 1 - 1e-4), truth)


def code_loss(codes: Tensor) -> Tensor:
    """Mean square of latent codes, which keeps them near the origin they were drawn around."""
    return codes.square().mean()
