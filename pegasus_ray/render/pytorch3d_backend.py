"""The rasteriser of PyTorch3D, which PointAvatar and PEGASUS used; an optional extra.

On a CPU it tests every pixel against every point, so it is correct but slow.

Legend: B frames, N points, C features, S side in pixels, K points a pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pegasus_ray.render.rasterize import Discs, Raster, drawable
from pegasus_ray.schemas.errors import PegasusError, Reason

try:
    from pytorch3d.renderer.compositing import alpha_composite
    from pytorch3d.renderer.points.rasterize_points import rasterize_points
    from pytorch3d.structures import Pointclouds
except ImportError as error:
    raise PegasusError(
        Reason.BAD_CONFIG,
        "PyTorch3D is not installed; its wheel works with one torch only, so install the extra [pytorch3d] into an "
        "environment of its own with constraints-pytorch3d.txt, or choose another rasteriser",
        subject="pytorch3d",
    ) from error


def rasterize(discs: Discs, features: Tensor, *, size: int, per_pixel: int) -> Raster:
    """See `pegasus_ray.render.rasterize.Backend`.

    PyTorch3D's picture spans −1 to 1 with x to the left and y up, and it skips points of negative depth.
    """
    frames, points = discs.depth.shape
    shown = drawable(discs.pixels, discs.depth, discs.radii)
    places = torch.where(shown[..., None], 1 - discs.pixels * (2 / size), 0)
    places = torch.cat([places, torch.where(shown, discs.depth.detach(), -1)[..., None]], dim=-1)
    radius = torch.where(shown, discs.radii, 1) * (2 / size)
    packed, _, squares = rasterize_points(
        Pointclouds(points=places), image_size=size, radius=radius.detach(), points_per_pixel=per_pixel
    )  # (B, S, S, K) point numbers through the whole batch, and squared distances
    present = packed >= 0
    number = packed.clamp(min=0).long()
    falloff = 1 - squares / radius.reshape(-1)[number].square()
    alphas = torch.where(present, discs.opacity.expand(frames, points).reshape(-1)[number] * falloff, 0)
    ones = features.new_ones(len(features), points, 1)
    flat = torch.cat([features, ones], dim=-1).expand(frames, points, -1).reshape(frames * points, -1)
    blended = alpha_composite(packed.permute(0, 3, 1, 2).long(), alphas.permute(0, 3, 1, 2), flat.T)
    blended = blended.permute(0, 2, 3, 1)
    first = torch.arange(frames, device=packed.device)[:, None, None, None] * points
    return Raster(
        features=blended[..., :-1],
        alpha=blended[..., -1],
        indices=torch.where(present, packed - first, -1).int(),
    )
