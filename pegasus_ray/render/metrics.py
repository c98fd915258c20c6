"""How similar two pictures are: PSNR and SSIM.

Legend: B pictures, H, W height and width in pixels, C channels. Values run from 0 to 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW_PIXELS = 11
"""Side of the window in which SSIM takes means."""
SIGMA_PIXELS = 1.5
"""Standard deviation of the window's Gaussian weights."""


def psnr(
    a: Tensor,  # (..., C)
    b: Tensor,  # (..., C)
    mask: Tensor | None = None,  # (...) weights, 0–1
) -> Tensor:
    """Peak signal-to-noise ratio in dB over all pixels, or over those of a mask.

    It is infinite for equal pictures and NaN for an empty mask. Differentiable where the pictures differ.
    """
    squares = (a - b).square().mean(dim=-1)
    error = squares.mean() if mask is None else (squares * mask).sum() / mask.sum()
    return -10 * torch.log10(error)


def ssim_map(
    a: Tensor,  # (B, C, H, W)
    b: Tensor,  # (B, C, H, W)
) -> Tensor:
    """Structural similarity at each pixel, (B, H, W), −1 to 1, the mean of the channels.

    The window is Gaussian, 11 × 11 with σ = 1.5; at the border its weights are those of the pixels inside the picture.
    Differentiable.
    Source: Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b, square_a, square_b, product = _blur(torch.stack([a, b, a * a, b * b, a * b]))
    variance_a, variance_b = square_a - mean_a.square(), square_b - mean_b.square()
    covariance = product - mean_a * mean_b
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    scale = (mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2)
    similarity: Tensor = likeness / scale
    return similarity.mean(dim=1)


def ssim(
    a: Tensor,  # (B, C, H, W)
    b: Tensor,  # (B, C, H, W)
    mask: Tensor | None = None,  # (B, H, W) weights, 0–1
) -> Tensor:
    """The mean of `ssim_map` over all pixels, or over those of a mask; NaN for an empty mask."""
    similarity = ssim_map(a, b)
    return similarity.mean() if mask is None else (similarity * mask).sum() / mask.sum()


def _blur(
    image: Tensor,  # (..., H, W)
) -> Tensor:
    """Gaussian means, (..., H, W).

    They are products with two banded matrices, which on a CPU is ten times as fast as convolutions of so few channels.
    """
    height, width = image.shape[-2:]
    return _blur_matrix(height, image) @ image @ _blur_matrix(width, image).T


def _blur_matrix(length: int, like: Tensor) -> Tensor:
    """The matrix (length, length) that blurs a vector; each row sums to 1."""
    places = torch.arange(length, device=like.device)
    offsets = places[:, None] - places
    weights = torch.exp(-offsets.to(like.dtype).square() / (2 * SIGMA_PIXELS**2)) * (
        offsets.abs() <= WINDOW_PIXELS // 2
    )
    return weights / weights.sum(dim=1, keepdim=True)
