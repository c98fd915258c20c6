"""Differentiable splatting of points: each pixel blends the nearest discs that cover it, front to back.

Legend: B frames, N points, C features, K points a pixel, S side of the picture in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from pegasus_ray.schemas.errors import PegasusError, Reason

NEAR_METRES = 1e-2
"""Points at this depth or nearer are not drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Discs:
    """The points of a batch of frames as discs on the picture.

    A disc's opacity falls off from its centre: it is `opacity · (1 − d²/r²)` at `d` pixels from it, and 0 beyond the radius `r`.
    """

    pixels: Tensor  # (B, N, 2) centres in pixels, x right, y down, pixel centres at +.5
    depth: Tensor  # (B, N) metres along the camera's axis
    radii: Tensor  # (B, N) pixels
    opacity: Tensor  # (N,) of all frames, or (B, N), or (1, N); at the centre, 0–1


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """A batch of pictures of points without a background; `features + (1 - alpha) * background` adds one."""

    features: Tensor  # (B, S, S, C) blended front to back
    alpha: Tensor  # (B, S, S) 1 − transmittance
    indices: Tensor  # (B, S, S, K) int32: the points of a pixel, nearest first, −1 where there are no more


class Backend(Protocol):
    """One way to rasterise.

    It gets checked arguments: `discs.opacity` is (B, N) or (1, N), and `features` is (B, N, C) or (1, N, C).
    """

    def __call__(self, discs: Discs, features: Tensor, *, size: int, per_pixel: int) -> Raster:
        """Rasterise a batch."""
        ...


BACKENDS = {
    "warp": "pegasus_ray.render.warp_backend",
    "torch": "pegasus_ray.render.torch_backend",
    "pytorch3d": "pegasus_ray.render.pytorch3d_backend",
}
"""A backend's name → the module that holds its `rasterize`. A module is imported when its backend is first asked for."""


def load_backend(name: str) -> Backend:
    """The backend of that name.

    Raises:
        PegasusError: BAD_CONFIG for an unknown name, and for a backend whose package is missing.
    """
    if name not in BACKENDS:
        raise PegasusError(Reason.BAD_CONFIG, f"no such rasteriser; choose one of {', '.join(BACKENDS)}", subject=name)
    return cast(Backend, import_module(BACKENDS[name]).rasterize)


def rasterize(
    discs: Discs,
    features: Tensor,  # (N, C) of all frames, or (B, N, C), or (1, N, C)
    *,
    size: int,
    per_pixel: int = 10,
    backend: str = "warp",
) -> Raster:
    """Draw points as discs.

    A pixel blends the `per_pixel` nearest points whose disc covers its centre; of points at one depth the lower index
    is the nearer. Points at `NEAR_METRES` or nearer, and points of no radius, are skipped. Gradients flow to pixels, radii,
    opacity and features, but not to depth, which decides the order alone.

    On a CPU, with one number of threads, the result is the same to the bit; on CUDA the gradients' sums are not.

    Args:
        discs: where the points lie on the picture, how large and how opaque they are.
        features: what is blended.
        size: side of the square picture.
        per_pixel: K.
        backend: `warp` (CPU and CUDA), `torch` (the plain reference) or `pytorch3d` (an extra).

    Returns:
        Features, alpha and the points of each pixel.

    Raises:
        PegasusError: BAD_CONFIG for shapes that do not agree, and for an unknown backend.

    Source: the compositing of PointAvatar's and PEGASUS's renderers, by PyTorch3D.

    Example:
        >>> centre, one = torch.full((1, 1, 2), 2.0), torch.ones(1, 1)
        >>> discs = Discs(pixels=centre, depth=one, radii=2 * one, opacity=one)
        >>> raster = rasterize(discs, torch.ones(1, 3), size=4, per_pixel=1)
        >>> raster.alpha[0, 1, 1]
        tensor(0.8750)
    """
    _check(discs, features, size, per_pixel)
    opacity = discs.opacity
    return load_backend(backend)(
        replace(discs, opacity=opacity if opacity.dim() == 2 else opacity[None]),
        features if features.dim() == 3 else features[None],
        size=size,
        per_pixel=per_pixel,
    )


def drawable(
    pixels: Tensor,  # (..., N, 2)
    depth: Tensor,  # (..., N)
    radii: Tensor,  # (..., N)
) -> Tensor:
    """Which points are drawn, (..., N) bool: those in front of the camera, with a radius, and without NaN or infinity."""
    total = pixels.sum(dim=-1) + depth + radii
    return (depth > NEAR_METRES) & (radii > 0) & (total.abs() < torch.inf)


def _check(discs: Discs, features: Tensor, size: int, per_pixel: int) -> None:
    if discs.pixels.dim() != 3 or discs.pixels.shape[2] != 2:
        raise PegasusError(
            Reason.BAD_CONFIG, f"pixels must be (B, N, 2), not {tuple(discs.pixels.shape)}", subject="rasterize"
        )
    frames, points = int(discs.pixels.shape[0]), int(discs.pixels.shape[1])
    per_frame, shared = (frames, points), (points,)
    wanted = {
        "depth": (discs.depth.shape, (per_frame,)),
        "radii": (discs.radii.shape, (per_frame,)),
        "opacity": (discs.opacity.shape, (shared, per_frame, (1, points))),
        "features": (features.shape[:-1], (shared, per_frame, (1, points))),
    }
    for name, (shape, allowed) in wanted.items():
        if tuple(shape) not in allowed:
            raise PegasusError(
                Reason.BAD_CONFIG,
                f"{name} begins with {tuple(shape)}; the pixels ask for {' or '.join(map(str, allowed))}",
                subject="rasterize",
            )
    if min(size, per_pixel, frames, int(features.shape[-1])) < 1:
        message = f"size {size}, per_pixel {per_pixel}, frames {frames} and features must be one at least"
        raise PegasusError(Reason.BAD_CONFIG, message, subject="rasterize")
