"""Shading from the deformed normal: second-order spherical harmonics, linear in the light (paper §3: s^d of n^d).

Legend: B frames, N points.
"""

from __future__ import annotations

import torch
from torch import Tensor

TERMS = 9
"""Number of spherical harmonics up to the second order."""


def harmonics(normals: Tensor) -> Tensor:
    """The nine real harmonics up to the second order, unnormalised, of unit vectors (..., 3): (..., 9). The first is 1."""
    x, y, z = normals.unbind(-1)
    terms = [torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1]
    return torch.stack(terms, dim=-1)


def shade(normals: Tensor, light: Tensor) -> Tensor:
    """Shading (B, N, 3) of normals (B, N, 3) in camera space under `light`, (9, 3) or one per point (N, 9, 3)."""
    terms = harmonics(normals)
    return terms @ light if light.dim() == 2 else torch.einsum("bnk,nkc->bnc", terms, light)


def even_light(*, device: torch.device | str = "cpu") -> Tensor:
    """Light that shades every normal by 1, (9, 3)."""
    light = torch.zeros(TERMS, 3, device=device)
    light[0] = 1.0
    return light
