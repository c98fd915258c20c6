"""The rasteriser in Warp kernels, on CPU and CUDA.

Warp runs a CPU launch on the calling thread alone but lets go of the interpreter's lock: the rows of the batch are
shared out to `torch.get_num_threads()` threads. Each sums gradients of its own, so that equal thread counts give equal
bits.

Legend: B frames, N points, C features, K points a pixel, S side in pixels, P = S² pixels, T threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch
import warp as wp
from torch import Tensor
from torch.autograd.function import once_differentiable

from pegasus_ray.render import warp_kernels as kernels
from pegasus_ray.render.rasterize import Raster, drawable


def _start_warp() -> None:
    """Start Warp without its banner and, where there is no CUDA, the warning that it writes past Python."""
    wp.config.log_level = wp.LOG_ERROR
    if torch.cuda.is_available():
        wp.init()
        return
    shown = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            wp.init()
        finally:
            os.dup2(shown, 2)
            os.close(shown)


_start_warp()


def rasterize(
    pixels: Tensor,  # (B, N, 2)
    depth: Tensor,  # (B, N)
    radii: Tensor,  # (B, N)
    opacity: Tensor,  # (B or 1, N)
    features: Tensor,  # (B or 1, N, C)
    *,
    size: int,
    per_pixel: int,
) -> Raster:
    """See `pegasus_ray.render.rasterize.rasterize`. Computes in 32-bit floats."""
    picture, alpha, indices = _apply(pixels, radii, opacity, features, depth, size, per_pixel)
    side = (len(pixels), size, size)
    return Raster(features=picture.view(*side, -1), alpha=alpha.view(side), indices=indices.view(*side, per_pixel))


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        radii: Tensor,
        opacity: Tensor,
        features: Tensor,
        depth: Tensor,
        size: int,
        per_pixel: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        inputs = [tensor.detach().float().contiguous() for tensor in (pixels, radii, opacity, features)]
        pixels, radii, opacity, features = inputs
        frames, area, width = len(pixels), size * size, features.shape[2]
        filled = pixels.new_zeros(frames, area, dtype=torch.int32)
        indices = pixels.new_full((frames, area, per_pixel), -1, dtype=torch.int32)
        picture = pixels.new_empty(frames, area, width)
        alpha = pixels.new_empty(frames, area)
        before = pixels.new_empty(frames, area, per_pixel)
        order, drawn = _by_depth(pixels, depth.detach().float(), radii, size)
        shading = kernels.shade_kernels(width)
        shade_arguments = [
            *_arrays(pixels, radii, opacity, features, vector=shading.vector),
            *map(_array, (filled, indices)),
            _array(picture, shading.vector),
            *map(_array, (alpha, before)),
        ]
        if pixels.is_cuda:
            _select_in_parallel(pixels, radii, order, drawn, filled, indices, size)
            _launch(shading.shade, frames * area, [0, size, *shade_arguments], pixels.device)
        else:
            lay_arguments = [*_arrays(pixels, radii), *map(_array, (order, drawn, filled, indices))]

            def work(_: int, first: int, end: int) -> None:
                _launch(kernels.lay_in_order, frames, [first, end, size, per_pixel, *lay_arguments], pixels.device)
                _launch(shading.shade, (end - first) * size, [first * size, size, *shade_arguments], pixels.device)

            _share_out(work, frames * size, torch.get_num_threads())
        ctx.save_for_backward(*inputs, filled, indices, before)
        ctx.size = size
        ctx.mark_non_differentiable(indices)
        return picture, alpha, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, picture_grad: Tensor, alpha_grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, filled, indices, before = ctx.saved_tensors
        size, device = ctx.size, filled.device
        rows = len(filled) * size
        threads = 1 if filled.is_cuda else min(torch.get_num_threads(), rows)
        sums = [tensor.new_zeros(threads, *tensor.shape) for tensor in inputs]  # (T, ...) each
        shading = kernels.shade_kernels(picture_grad.shape[2])
        arguments = [
            *_arrays(*inputs, vector=shading.vector),
            *map(_array, (filled, indices, before)),
            _array(picture_grad.contiguous(), shading.vector),
            _array(alpha_grad.contiguous()),
        ]

        def work(thread: int, first: int, end: int) -> None:
            own = _arrays(*(total[thread] for total in sums), vector=shading.vector)
            _launch(shading.shade_backward, (end - first) * size, [first * size, size, *arguments, *own], device)

        _share_out(work, rows, threads)
        return (*(total[0] if threads == 1 else total.sum(dim=0) for total in sums), None, None, None)


_apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Rasterize.apply


def _by_depth(pixels: Tensor, depth: Tensor, radii: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Points by depth (B, N) int32, those that are drawn first, and how many of each frame's are drawn (B,) int32.

    A positive float's bits sort as the float does; with the index below them every key is distinct, so ties fall to the
    lower index, and sorting need not be stable.
    """
    shown = drawable(pixels, depth, radii, size)
    keys = depth.contiguous().view(torch.int32).long() << 32
    keys |= torch.arange(depth.shape[1], device=depth.device)
    keys = keys.masked_fill_(~shown, torch.iinfo(torch.int64).max)
    return torch.sort(keys, dim=1).indices.int(), shown.sum(dim=1, dtype=torch.int32)


def _select_in_parallel(
    pixels: Tensor,  # (B, N, 2)
    radii: Tensor,  # (B, N)
    order: Tensor,  # (B, N)
    drawn: Tensor,  # (B,)
    filled: Tensor,  # (B, P) out
    indices: Tensor,  # (B, P, K) out
    size: int,
) -> None:
    """What `lay_in_order` does, for thousands of threads: each pixel's list, then the nearest of each list."""
    counts = torch.zeros_like(filled)
    shared = [size, *_arrays(pixels, radii), _array(order), _array(drawn)]
    _launch(kernels.count_covering, order.shape, [*shared, _array(counts)], pixels.device)
    ends = counts.view(-1).cumsum(0, dtype=torch.int32)
    ranks = ends.new_empty(int(ends[-1]))
    ends = ends.view_as(counts) - counts
    _launch(kernels.list_covering, order.shape, [*shared, _array(ends), _array(ranks)], pixels.device)
    select = [indices.shape[2], *map(_array, (order, counts, ends, ranks, filled, indices))]
    _launch(kernels.select_nearest, counts.shape, select, pixels.device)


_SCALARS = {torch.float32: wp.float32, torch.int32: wp.int32}


def _array(tensor: Tensor, dtype: Any = None) -> Any:
    return wp.from_torch(tensor, dtype=dtype or _SCALARS[tensor.dtype])


def _arrays(pixels: Tensor, radii: Tensor, *more: Tensor, vector: Any = None) -> list[Any]:
    """Pixels and radii, and with `vector` opacity and features, as Warp's arrays on the same memory."""
    scalars, vectors = more[:1], more[1:]
    return [_array(pixels, wp.vec2), _array(radii), *map(_array, scalars), *(_array(each, vector) for each in vectors)]


def _launch(kernel: Any, dim: Any, arguments: list[Any], device: torch.device) -> None:
    if device.type == "cuda":
        stream = wp.stream_from_torch(torch.cuda.current_stream(device))
        wp.launch(kernel, tuple(dim) if not isinstance(dim, int) else dim, arguments, stream=stream)
    else:
        wp.launch(kernel, tuple(dim) if not isinstance(dim, int) else dim, arguments, device="cpu")


def _share_out(work: Callable[[int, int, int], None], rows: int, threads: int) -> None:
    """Call `work(thread, first row, end row)` for as many equal parts of the rows as there are threads."""
    threads = min(threads, rows)
    cuts = [rows * thread // threads for thread in range(threads + 1)]
    if threads == 1:
        work(0, 0, rows)
    else:
        list(_pool(threads).map(work, range(threads), cuts[:-1], cuts[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rasterize")
