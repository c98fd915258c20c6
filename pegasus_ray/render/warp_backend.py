"""The rasteriser in Warp kernels, on CPU and CUDA.

Warp runs a CPU launch on the calling thread alone, but releases Python's global lock meanwhile. The rows of the batch are
therefore divided among `torch.get_num_threads()` threads. Each thread sums gradients into a buffer of its own, so that runs
with the same number of threads give the same bits.

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
from pegasus_ray.render.rasterize import Discs, Raster, drawable


def _start_warp() -> None:
    """Start Warp without its banner.

    Where there is no CUDA, its native code writes a warning straight to file descriptor 2, which is sent to the null device
    meanwhile.
    """
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


def rasterize(discs: Discs, features: Tensor, *, size: int, per_pixel: int) -> Raster:
    """See `pegasus_ray.render.rasterize.Backend`. Computes in 32-bit floats."""
    depth = discs.depth.detach().float()
    picture, alpha, indices = _apply(pack(discs), features.float(), depth, size, per_pixel)
    side = (len(discs.pixels), size, size)
    return Raster(features=picture.view(*side, -1), alpha=alpha.view(side), indices=indices.view(*side, per_pixel))


def pack(discs: Discs) -> Tensor:
    """A disc's x, y, radius and opacity in one row, as the kernels read them: (B, N, 4) float32."""
    radii = discs.radii
    return torch.cat([discs.pixels, radii[..., None], discs.opacity.expand_as(radii)[..., None]], dim=-1).float()


class _Rasterize(torch.autograd.Function):
    """Which points a pixel blends, and the blending itself, with gradients to discs and features."""

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
        before = discs.new_empty(frames, area, per_pixel)  # transmittance in front of each point
        order, drawn = sort_by_depth(discs, depth)
        selecting = [_warp_array(discs, wp.vec4), *map(_warp_array, (order, drawn, filled, indices))]
        shading = kernels.shade_kernels(width)
        blending = [
            _warp_array(discs, wp.vec4),
            _warp_array(features, shading.vector),
            *map(_warp_array, (filled, indices)),
            _warp_array(picture, shading.vector),
            *map(_warp_array, (alpha, before)),
        ]
        if discs.is_cuda:
            find_nearest_points(discs, order, drawn, filled, indices, size)
            _launch(shading.shade, frames * area, [0, size, *blending], discs.device)
        else:

            def draw_rows(_: int, first: int, end: int) -> None:
                _launch(kernels.list_nearest_first, frames, [first, end, size, per_pixel, *selecting], discs.device)
                _launch(shading.shade, (end - first) * size, [first * size, size, *blending], discs.device)

            _in_threads(draw_rows, frames * size, torch.get_num_threads(), (kernels.list_nearest_first, shading.shade))
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
            _warp_array(discs, wp.vec4),
            _warp_array(features, shading.vector),
            *map(_warp_array, (filled, indices, before)),
            _warp_array(picture_grad.contiguous(), shading.vector),
            _warp_array(alpha_grad.contiguous()),
        ]

        def sum_rows(thread: int, first: int, end: int) -> None:
            sums = [_warp_array(discs_grad[thread], wp.vec4), _warp_array(features_grad[thread], shading.vector)]
            arguments = [first * ctx.size, ctx.size, *given, *sums]
            _launch(shading.shade_backward, (end - first) * ctx.size, arguments, discs.device)

        _in_threads(sum_rows, rows, threads, (shading.shade_backward,))
        if threads == 1:
            return discs_grad[0], features_grad[0], None, None, None
        return discs_grad.sum(dim=0), features_grad.sum(dim=0), None, None, None


_apply: Callable[..., tuple[Tensor, Tensor, Tensor]] = _Rasterize.apply


def sort_by_depth(
    discs: Tensor,  # (B, N, 4)
    depth: Tensor,  # (B, N) metres, float32
) -> tuple[Tensor, Tensor]:
    """Each frame's points in order of depth (B, N) int32, and how many of them are drawn (B,) int32.

    Points that are not drawn come last. The sort key is the depth's bits, which sort as a positive float does, above the
    point's index. So no two keys are equal: of points at one depth the lower index comes first, and any sort will do.
    """
    shown = drawable(discs[..., :2], depth, discs[..., 2])
    keys = depth.contiguous().view(torch.int32).long() << 32
    keys |= torch.arange(depth.shape[1], device=depth.device)
    keys = keys.masked_fill_(~shown, torch.iinfo(torch.int64).max)
    # Row by row, since torch sorts a vector three times as fast as a matrix of one row.
    order = torch.stack([torch.sort(row).indices for row in keys])
    return order.int(), shown.sum(dim=1, dtype=torch.int32)


def find_nearest_points(
    discs: Tensor,  # (B, N, 4)
    order: Tensor,  # (B, N) int32
    drawn: Tensor,  # (B,) int32
    filled: Tensor,  # (B, P) int32 out
    indices: Tensor,  # (B, P, K) int32 out
    size: int,
) -> None:
    """Find the K nearest points of each pixel by thousands of threads, for CUDA; gives what `list_nearest_first` gives on a CPU.

    Each pixel gets the list of all points that cover it, of which the nearest are then selected.
    """
    counts = torch.zeros_like(filled)
    given = [size, _warp_array(discs, wp.vec4), _warp_array(order), _warp_array(drawn)]
    _launch(kernels.count_covering, order.shape, [*given, _warp_array(counts)], discs.device)
    ends = counts.view(-1).cumsum(0, dtype=torch.int32)
    ranks = ends.new_empty(int(ends[-1]))
    ends = ends.view_as(counts) - counts
    _launch(kernels.list_covering, order.shape, [*given, _warp_array(ends), _warp_array(ranks)], discs.device)
    select = [indices.shape[2], *map(_warp_array, (order, counts, ends, ranks, filled, indices))]
    _launch(kernels.select_nearest, counts.shape, select, discs.device)


_SCALARS = {torch.float32: wp.float32, torch.int32: wp.int32}


def _warp_array(tensor: Tensor, dtype: Any = None) -> Any:
    return wp.from_torch(tensor, dtype=dtype or _SCALARS[tensor.dtype])


def _launch(kernel: Any, dim: Any, arguments: list[Any], device: torch.device) -> None:
    """Launch a kernel, on CUDA in torch's current stream, so that it waits for the tensors it reads."""
    if device.type == "cuda":
        wp.launch(kernel, dim, arguments, stream=wp.stream_from_torch(torch.cuda.current_stream(device)))
    else:
        wp.launch(kernel, dim, arguments, device="cpu")


def _in_threads(work: Callable[[int, int, int], None], rows: int, threads: int, used: tuple[Any, ...]) -> None:
    """Call `work(thread, first row, end row)` in threads, each with an equal part of the rows; `used` are its kernels."""
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
    """Compile or load a kernel for the CPU once; otherwise Warp would do so at the first launch, in all threads at once."""
    wp.load_module(kernel.module, device="cpu")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rasterize")
