"""The rasteriser in plain torch: the reference that the faster backends are tested against.

Legend: B frames, N points, C features, K points a pixel, S side in pixels, W side of the largest disc in pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pegasus_ray.render.rasterize import Discs, Raster, drawable


def rasterize(discs: Discs, features: Tensor, *, size: int, per_pixel: int) -> Raster:
    """See `pegasus_ray.render.rasterize.Backend`."""
    pixels, depth, radii, opacity = discs.pixels, discs.depth, discs.radii, discs.opacity
    frames = range(pixels.shape[0])
    indices = torch.stack([nearest_points(pixels[b], depth[b], radii[b], size, per_pixel) for b in frames])
    blended = [
        blend(indices[b], pixels[b], radii[b], opacity[min(b, len(opacity) - 1)], features[min(b, len(features) - 1)])
        for b in frames
    ]
    return Raster(
        features=torch.stack([picture for picture, _ in blended]),
        alpha=torch.stack([alpha for _, alpha in blended]),
        indices=indices,
    )


@torch.no_grad()
def nearest_points(
    pixels: Tensor,  # (N, 2)
    depth: Tensor,  # (N,)
    radii: Tensor,  # (N,)
    size: int,
    per_pixel: int,
) -> Tensor:
    """The points of each pixel, (S, S, K) int32, nearest first, −1 where there are no more.

    The points are taken in order of depth, each with a window of W × W pixels around its centre. A stable sort of the covered
    pixels by their number then brings the points of one pixel together and keeps them in order of depth.
    """
    indices = torch.full((size * size, per_pixel), -1, dtype=torch.int32, device=pixels.device)
    order = torch.argsort(depth, stable=True)
    order = order[drawable(pixels, depth, radii)[order]]
    if len(order) == 0:
        return indices.view(size, size, per_pixel)
    x, y = pixels[order].unbind(-1)
    radius = radii[order]
    window = torch.arange(min(math.ceil(2 * float(radius.max())) + 1, size), device=pixels.device)
    columns = torch.ceil(x - radius - 0.5).clamp(min=0).long()[:, None] + window  # (N, W)
    rows = torch.ceil(y - radius - 0.5).clamp(min=0).long()[:, None] + window
    dx = columns + 0.5 - x[:, None]
    dy = rows + 0.5 - y[:, None]
    covered = (dx * dx)[:, None, :] + (dy * dy)[:, :, None] < (radius * radius)[:, None, None]  # (N, W, W)
    covered &= (columns < size)[:, None, :] & (rows < size)[:, :, None]
    point, row, column = covered.nonzero(as_tuple=True)  # in order of depth
    pixel, by_pixel = torch.sort(rows[point, row] * size + columns[point, column], stable=True)
    counts = torch.bincount(pixel, minlength=size * size)
    rank = torch.arange(len(pixel), device=pixels.device) - (counts.cumsum(0) - counts)[pixel]
    kept = rank < per_pixel
    indices[pixel[kept], rank[kept]] = order[point[by_pixel[kept]]].int()
    return indices.view(size, size, per_pixel)


def blend(
    indices: Tensor,  # (S, S, K) int32
    pixels: Tensor,  # (N, 2)
    radii: Tensor,  # (N,)
    opacity: Tensor,  # (N,)
    features: Tensor,  # (N, C)
) -> tuple[Tensor, Tensor]:
    """Blend the points of each pixel front to back: features (S, S, C) and alpha (S, S)."""
    size = indices.shape[0]
    present = indices >= 0
    point = indices[present].long()  # (M,) one for each point of each pixel
    row, column, _ = present.nonzero(as_tuple=True)
    offset = torch.stack([column, row], dim=-1) + 0.5 - pixels[point]
    falloff = 1 - offset.square().sum(dim=-1) / radii[point].square()
    alphas = torch.zeros(indices.shape, dtype=pixels.dtype, device=pixels.device)
    alphas = alphas.masked_scatter(present, opacity[point] * falloff)
    transmittance = torch.cumprod(1 - alphas, dim=-1)
    before = torch.cat([torch.ones_like(transmittance[..., :1]), transmittance[..., :-1]], dim=-1)
    weights = (alphas * before)[present]
    picture = features.new_zeros(size * size, features.shape[1])
    picture = picture.index_add(0, row * size + column, weights[:, None] * features[point])
    return picture.view(size, size, -1), 1 - transmittance[..., -1]
