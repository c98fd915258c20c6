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
    discs = torch.cat([pixels, radii[..., None], opacity.expand_as(radii)[..., None]], dim=-1).float()
    picture, alpha, indices = _apply(discs, features.float(), depth.detach().float(), size, per_pixel)
    side = (len(pixels), size, size)
    return Raster(features=picture.view(*side, -1), alpha=alpha.view(side), indices=indices.view(*side, per_pixel))


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        discs: Tensor,  # (B, N, 4)
        features: Tensor,  # (B or 1, N, C)
        depth: Tensor,  # (B, N)
        size: int,
        per_pixel: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        discs, features = discs.detach(), features.detach().contiguous()
        frames, area, width = len(discs), size * size, features.shape[2]
        filled = discs.new_zeros(frames, area, dtype=torch.int32)
        indices = discs.new_full((frames, area, per_pixel), -1, dtype=torch.int32)
        picture = discs.new_empty(frames, area, width)
        alpha = discs.new_empty(frames, area)
        before = discs.new_empty(frames, area, per_pixel)
        order, drawn = by_depth(discs, depth)
        lists = [_array(discs, wp.vec4), *map(_array, (order, drawn, filled, indices))]
        shading = kernels.shade_kernels(width)
        shade = [
            *(_array(discs, wp.vec4), _array(features, shading.vector), _array(filled), _array(indices)),
            *(_array(picture, shading.vector), _array(alpha), _array(before)),
        ]
        if discs.is_cuda:
            select_in_parallel(discs, order, drawn, filled, indices, size)
            _launch(shading.shade, frames * area, [0, size, *shade], discs.device)
        else:

            def work(_: int, first: int, end: int) -> None:
                _launch(kernels.lay_in_order, frames, [first, end, size, per_pixel, *lists], discs.device)
                _launch(shading.shade, (end - first) * size, [first * size, size, *shade], discs.device)

            _share_out(work, frames * size, torch.get_num_threads(), (kernels.lay_in_order, shading.shade))
        ctx.save_for_backward(discs, features, filled, indices, before)
        ctx.size = size
        ctx.mark_non_differentiable(indices)
        return picture, alpha, indices

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, picture_grad: Tensor, alpha_grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        discs, features, filled, indices, before = ctx.saved_tensors
        rows = len(discs) * ctx.size
        threads = 1 if discs.is_cuda else min(torch.get_num_threads(), rows)
        discs_grad = discs.new_zeros(threads, *discs.shape)
        features_grad = features.new_zeros(threads, *features.shape)
        shading = kernels.shade_kernels(features.shape[2])
        given = [
            *(_array(discs, wp.vec4), _array(features, shading.vector), *map(_array, (filled, indices, before))),
            *(_array(picture_grad.contiguous(), shading.vector), _array(alpha_grad.contiguous())),
        ]

        def work(thread: int, first: int, end: int) -> None:
            sums = [_array(discs_grad[thread], wp.vec4), _array(features_grad[thread], shading.vector)]
            arguments = [first * ctx.size, ctx.size, *given, *sums]
            _launch(shading.shade_backward, (end - first) * ctx.size, arguments, discs.device)

        _share_out(work, rows, threads, (shading.shade_backward,))
        if threads == 1:
            return discs_grad[0], features_grad[0], None, None, None
        return discs_grad.sum(dim=0), features_grad.sum(dim=0), None, None, None


_apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Rasterize.apply


def by_depth(discs: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Points by depth (B, N) int32, those that are drawn first, and how many of each frame's are drawn (B,) int32.

    A positive float's bits sort as the float does; with the index below them every key is distinct, so ties fall to the
    lower index, and sorting need not be stable.
    """
    shown = drawable(discs[..., :2], depth, discs[..., 2])
    keys = depth.contiguous().view(torch.int32).long() << 32
    keys |= torch.arange(depth.shape[1], device=depth.device)
    keys = keys.masked_fill_(~shown, torch.iinfo(torch.int64).max)
    # Row by row: torch sorts a vector three times as fast as a matrix of one row.
    order = torch.stack([torch.sort(row).indices for row in keys])
    return order.int(), shown.sum(dim=1, dtype=torch.int32)


def select_in_parallel(
    discs: Tensor,  # (B, N, 4)
    order: Tensor,  # (B, N) int32
    drawn: Tensor,  # (B,) int32
    filled: Tensor,  # (B, P) int32 out
    indices: Tensor,  # (B, P, K) int32 out
    size: int,
) -> None:
    """What `lay_in_order` does, for thousands of threads: each pixel's list, then the nearest of each list."""
    counts = torch.zeros_like(filled)
    given = [size, _array(discs, wp.vec4), _array(order), _array(drawn)]
    _launch(kernels.count_covering, order.shape, [*given, _array(counts)], discs.device)
    ends = counts.view(-1).cumsum(0, dtype=torch.int32)
    ranks = ends.new_empty(int(ends[-1]))
    ends = ends.view_as(counts) - counts
    _launch(kernels.list_covering, order.shape, [*given, _array(ends), _array(ranks)], discs.device)
    select = [indices.shape[2], *map(_array, (order, counts, ends, ranks, filled, indices))]
    _launch(kernels.select_nearest, counts.shape, select, discs.device)


_SCALARS = {torch.float32: wp.float32, torch.int32: wp.int32}


def _array(tensor: Tensor, dtype: Any = None) -> Any:
    return wp.from_torch(tensor, dtype=dtype or _SCALARS[tensor.dtype])


def _launch(kernel: Any, dim: Any, arguments: list[Any], device: torch.device) -> None:
    if device.type == "cuda":
        wp.launch(kernel, dim, arguments, stream=wp.stream_from_torch(torch.cuda.current_stream(device)))
    else:
        wp.launch(kernel, dim, arguments, device="cpu")


def _share_out(work: Callable[[int, int, int], None], rows: int, threads: int, used: tuple[Any, ...]) -> None:
    """Call `work(thread, first row, end row)` for as many equal parts of the rows as there are threads."""
    threads = min(threads, rows)
    if threads == 1:
        work(0, 0, rows)
        return
    for kernel in used:
        _compile(kernel)
    cuts = [rows * thread // threads for thread in range(threads + 1)]
    list(_pool(threads).map(work, range(threads), cuts[:-1], cuts[1:]))


@cache
def _compile(kernel: Any) -> None:
    """Compile or load a kernel for the CPU now, once: Warp would at the first launch, in every thread at the same time."""
    wp.load_module(kernel.module, device="cpu")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rasterize")
