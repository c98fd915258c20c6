"""Differentiable splatting of points: each pixel blends the nearest discs that cover it, front to back.

Legend: B frames, N points, C features, K points a pixel, S side of the picture in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

import torch
from torch import Tensor

from pegasus_ray.schemas.errors import PegasusError, Reason

NEAR = 1e-2
"""Points at this depth or nearer, in metres, are not drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raster:
    """A batch of pictures of points, without a background: put one behind by `features + (1 - alpha) * background`."""

    features: Tensor  # (B, S, S, C) blended front to back
    alpha: Tensor  # (B, S, S) 1 − transmittance
    indices: Tensor  # (B, S, S, K) int32: the points of a pixel, nearest first, −1 where there are no more


class Backend(Protocol):
    """One way to rasterise. The arguments come checked and broadcast: see `rasterize`."""

    def __call__(
        self,
        pixels: Tensor,  # (B, N, 2)
        depth: Tensor,  # (B, N)
        radii: Tensor,  # (B, N)
        opacity: Tensor,  # (B or 1, N)
        features: Tensor,  # (B or 1, N, C)
        *,
        size: int,
        per_pixel: int,
    ) -> Raster:
        """Rasterise a batch."""
        ...


BACKENDS = {
    "warp": "pegasus_ray.render.warp_backend",
    "torch": "pegasus_ray.render.torch_backend",
    "pytorch3d": "pegasus_ray.render.pytorch3d_backend",
}
"""A backend's name → the module that holds its `rasterize`, imported when first asked for."""


def backend_of(name: str) -> Backend:
    """The backend of that name.

    Raises:
        PegasusError: BAD_CONFIG for a name that there is not, and for a backend whose package is missing.
    """
    if name not in BACKENDS:
        raise PegasusError(Reason.BAD_CONFIG, f"no such rasteriser; choose one of {', '.join(BACKENDS)}", subject=name)
    return cast(Backend, import_module(BACKENDS[name]).rasterize)


def rasterize(
    pixels: Tensor,  # (B, N, 2) pixels, x right, y down, pixel centres at +.5
    depth: Tensor,  # (B, N) metres
    radii: Tensor,  # (B, N) pixels
    opacity: Tensor,  # (N,) or (B, N), 0–1
    features: Tensor,  # (N, C) or (B, N, C)
    *,
    size: int,
    per_pixel: int = 10,
    backend: str = "warp",
) -> Raster:
    """Splat points as discs whose opacity falls off from the centre, `opacity · (1 − d²/r²)` at `d` pixels from it.

    A pixel blends the `per_pixel` nearest points whose disc covers its centre; of points at one depth the lower index
    is the nearer. Points at `NEAR` or nearer, and points of no radius, are skipped. Gradients flow to pixels, radii,
    opacity and features; not to depth, whose order is what matters.

    On a CPU, with one number of threads, the result is the same to the bit; on CUDA the gradients' sums are not.

    Args:
        pixels: centres of the discs.
        depth: distance along the camera's axis.
        radii: of the discs.
        opacity: at the centres; of all frames, or a frame.
        features: what is blended, of all frames, or a frame.
        size: side of the square picture.
        per_pixel: K.
        backend: `warp` (CPU and CUDA), `torch` (the plain reference) or `pytorch3d` (an extra).

    Returns:
        Features, alpha and the points of each pixel.

    Raises:
        PegasusError: BAD_CONFIG for shapes that do not agree, and for a backend that there is not.

    Source: the compositing of PointAvatar's and PEGASUS's renderers, by PyTorch3D.

    Example:
        >>> centre, one = torch.full((1, 1, 2), 2.0), torch.ones(1, 1)
        >>> raster = rasterize(centre, one, 2 * one, one[0], torch.ones(1, 3), size=4, per_pixel=1)
        >>> raster.alpha[0, 1, 1]
        tensor(0.8750)
    """
    _check(pixels, depth, radii, opacity, features, size, per_pixel)
    return backend_of(backend)(
        pixels,
        depth,
        radii,
        opacity if opacity.dim() == 2 else opacity[None],
        features if features.dim() == 3 else features[None],
        size=size,
        per_pixel=per_pixel,
    )


def drawable(pixels: Tensor, depth: Tensor, radii: Tensor) -> Tensor:
    """Which points are drawn, (B, N) bool: those in front of the camera, with a radius, and finite in all they have."""
    total = pixels.sum(dim=-1) + depth + radii
    return (depth > NEAR) & (radii > 0) & (total.abs() < torch.inf)


def _check(
    pixels: Tensor, depth: Tensor, radii: Tensor, opacity: Tensor, features: Tensor, size: int, per_pixel: int
) -> None:
    if pixels.dim() != 3 or pixels.shape[2] != 2:
        raise PegasusError(
            Reason.BAD_CONFIG, f"pixels must be (B, N, 2), not {tuple(pixels.shape)}", subject="rasterize"
        )
    frames, points = int(pixels.shape[0]), int(pixels.shape[1])
    per_frame, shared = (frames, points), (points,)
    wanted = {
        "depth": (depth.shape, (per_frame,)),
        "radii": (radii.shape, (per_frame,)),
        "opacity": (opacity.shape, (shared, per_frame, (1, points))),
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
