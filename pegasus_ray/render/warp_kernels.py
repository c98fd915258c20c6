"""The rasteriser's Warp kernels: one source for CPU and CUDA, gradients written by hand.

Legend: B frames, N points, C features, K points a pixel, S side in pixels, P = S² pixels. A disc is four numbers: x and y of
its centre and its radius, in pixels, and its opacity. A kernel that takes `first` or `first_row` numbers pixels or rows
through the whole batch, so that a launch can draw a part of it.
"""
# A kernel is written in Warp's own language, which only looks like Python: its annotations are values, and `float(0.0)`
# declares a variable that a loop may change. There is no `from __future__ import annotations`, because Warp must evaluate
# the annotations, and a vector type is known only inside its function.
# mypy: ignore-errors
# ruff: noqa: UP018, RUF046

from functools import cache
from typing import Any, NamedTuple

import warp as wp

# The gradients are written by hand. Fused multiply-add is off, so that whether a disc covers a pixel is rounded as in torch.
wp.set_module_options({"enable_backward": False, "fuse_fp": False})


@wp.func
def first_pixel(centre: float, radius: float, lowest: int) -> int:
    """The first pixel whose centre the disc can cover, `lowest` at least."""
    return int(wp.max(float(lowest), wp.ceil(centre - radius - 0.5)))


@wp.func
def end_pixel(centre: float, radius: float, end: int) -> int:
    """One past the last pixel whose centre the disc can cover, `end` at most."""
    return int(wp.min(float(end), wp.floor(centre + radius - 0.5) + 1.0))


@wp.func
def covers(disc: wp.vec4, column: int, row: int) -> bool:
    """Whether the disc covers the pixel's centre."""
    dx = float(column) + 0.5 - disc[0]
    dy = float(row) + 0.5 - disc[1]
    return dx * dx + dy * dy < disc[2] * disc[2]


@wp.kernel
def list_nearest_first(
    first_row: int,
    end_row: int,
    size: int,
    per_pixel: int,
    discs: wp.array2d(dtype=wp.vec4),  # (B, N)
    order: wp.array2d(dtype=wp.int32),  # (B, N) points by depth
    drawn: wp.array1d(dtype=wp.int32),  # (B,) how many of them are drawn
    filled: wp.array2d(dtype=wp.int32),  # (B, P) out: points of each pixel so far
    indices: wp.array3d(dtype=wp.int32),  # (B, P, K) out
):
    """For a CPU: go through a frame's points, nearest first, and append each to the lists of the pixels it covers, up to K."""
    frame = wp.tid()
    lowest = wp.max(first_row - frame * size, 0)
    end = wp.min(end_row - frame * size, size)
    if lowest >= end:
        return
    for rank in range(drawn[frame]):
        point = order[frame, rank]
        disc = discs[frame, point]
        left = first_pixel(disc[0], disc[2], 0)
        right = end_pixel(disc[0], disc[2], size)
        for row in range(first_pixel(disc[1], disc[2], lowest), end_pixel(disc[1], disc[2], end)):
            for column in range(left, right):
                if covers(disc, column, row):
                    pixel = row * size + column
                    count = filled[frame, pixel]
                    if count < per_pixel:
                        indices[frame, pixel, count] = point
                        filled[frame, pixel] = count + 1


@wp.kernel
def count_covering(
    size: int,
    discs: wp.array2d(dtype=wp.vec4),  # (B, N)
    order: wp.array2d(dtype=wp.int32),  # (B, N)
    drawn: wp.array1d(dtype=wp.int32),  # (B,)
    counts: wp.array2d(dtype=wp.int32),  # (B, P) out: zero at first
):
    """For CUDA, 1 of 3: how many points cover each pixel."""
    frame, rank = wp.tid()
    if rank >= drawn[frame]:
        return
    disc = discs[frame, order[frame, rank]]
    left = first_pixel(disc[0], disc[2], 0)
    right = end_pixel(disc[0], disc[2], size)
    for row in range(first_pixel(disc[1], disc[2], 0), end_pixel(disc[1], disc[2], size)):
        for column in range(left, right):
            if covers(disc, column, row):
                wp.atomic_add(counts, frame, row * size + column, 1)


@wp.kernel
def list_covering(
    size: int,
    discs: wp.array2d(dtype=wp.vec4),  # (B, N)
    order: wp.array2d(dtype=wp.int32),  # (B, N)
    drawn: wp.array1d(dtype=wp.int32),  # (B,)
    ends: wp.array2d(dtype=wp.int32),  # (B, P) in: where each pixel's list begins; out: where it ends
    ranks: wp.array1d(dtype=wp.int32),  # out: the lists, in any order
):
    """For CUDA, 2 of 3: the list of each pixel, of ranks by depth."""
    frame, rank = wp.tid()
    if rank >= drawn[frame]:
        return
    disc = discs[frame, order[frame, rank]]
    left = first_pixel(disc[0], disc[2], 0)
    right = end_pixel(disc[0], disc[2], size)
    for row in range(first_pixel(disc[1], disc[2], 0), end_pixel(disc[1], disc[2], size)):
        for column in range(left, right):
            if covers(disc, column, row):
                ranks[wp.atomic_add(ends, frame, row * size + column, 1)] = rank


@wp.kernel
def select_nearest(
    per_pixel: int,
    order: wp.array2d(dtype=wp.int32),  # (B, N)
    counts: wp.array2d(dtype=wp.int32),  # (B, P)
    ends: wp.array2d(dtype=wp.int32),  # (B, P)
    ranks: wp.array1d(dtype=wp.int32),
    filled: wp.array2d(dtype=wp.int32),  # (B, P) out
    indices: wp.array3d(dtype=wp.int32),  # (B, P, K) out
):
    """For CUDA, 3 of 3: the K lowest ranks of each list, by insertion; the order of a list does not matter."""
    frame, pixel = wp.tid()
    count = counts[frame, pixel]
    begin = ends[frame, pixel] - count
    kept = int(0)
    for entry in range(count):
        rank = ranks[begin + entry]
        place = int(kept)
        if kept == per_pixel:
            place = per_pixel - 1
            if rank > indices[frame, pixel, place]:
                place = per_pixel
        if place < per_pixel:
            while place > 0 and indices[frame, pixel, wp.max(place - 1, 0)] > rank:
                indices[frame, pixel, place] = indices[frame, pixel, place - 1]
                place = place - 1
            indices[frame, pixel, place] = rank
            kept = wp.min(kept + 1, per_pixel)
    filled[frame, pixel] = kept
    for k in range(kept):
        indices[frame, pixel, k] = order[frame, indices[frame, pixel, k]]


class ShadeKernels(NamedTuple):
    """The kernels for one number of features."""

    vector: Any  # Warp's type of a point's features
    shade: Any
    shade_backward: Any


@cache
def shade_kernels(width: int) -> ShadeKernels:
    """Blending of `width` features a point: a vector of fixed length, 1.5 to 4 times as fast as a loop."""
    vector = wp.types.vector(length=width, dtype=wp.float32)

    @wp.kernel(module="unique", module_options={"enable_backward": False, "fuse_fp": False})
    def shade(
        first: int,
        size: int,
        discs: wp.array2d(dtype=wp.vec4),  # (B, N)
        features: wp.array2d(dtype=vector),  # (B or 1, N)
        filled: wp.array2d(dtype=wp.int32),  # (B, P)
        indices: wp.array3d(dtype=wp.int32),  # (B, P, K)
        picture: wp.array2d(dtype=vector),  # (B, P) out
        alpha: wp.array2d(dtype=wp.float32),  # (B, P) out
        before: wp.array3d(dtype=wp.float32),  # (B, P, K) out: transmittance in front of each point
    ):
        """Blend the listed points of each pixel front to back."""
        number = first + wp.tid()
        frame = number / (size * size)
        pixel = number - frame * size * size
        x = float(pixel % size) + 0.5
        y = float(pixel / size) + 0.5
        features_frame = wp.min(frame, features.shape[0] - 1)
        blended = vector()
        transmittance = float(1.0)
        for k in range(filled[frame, pixel]):
            point = indices[frame, pixel, k]
            disc = discs[frame, point]
            dx = x - disc[0]
            dy = y - disc[1]
            a = disc[3] * (1.0 - (dx * dx + dy * dy) / (disc[2] * disc[2]))
            before[frame, pixel, k] = transmittance
            blended += features[features_frame, point] * (a * transmittance)
            transmittance *= 1.0 - a
        picture[frame, pixel] = blended
        alpha[frame, pixel] = 1.0 - transmittance

    @wp.kernel(module="unique", module_options={"enable_backward": False, "fuse_fp": False})
    def shade_backward(
        first: int,
        size: int,
        discs: wp.array2d(dtype=wp.vec4),  # (B, N)
        features: wp.array2d(dtype=vector),  # (B or 1, N)
        filled: wp.array2d(dtype=wp.int32),  # (B, P)
        indices: wp.array3d(dtype=wp.int32),  # (B, P, K)
        before: wp.array3d(dtype=wp.float32),  # (B, P, K)
        picture_grad: wp.array2d(dtype=vector),  # (B, P)
        alpha_grad: wp.array2d(dtype=wp.float32),  # (B, P)
        discs_grad: wp.array2d(dtype=wp.vec4),  # (B, N) out
        features_grad: wp.array2d(dtype=vector),  # (B or 1, N) out
    ):
        # Goes back to front and blends what lies behind each point again, by products alone. The usual way, front to back,
        # divides by 1 − a, which is zero at an opaque point's centre. Alpha is treated as a feature that is 1 at any point.
        number = first + wp.tid()
        frame = number / (size * size)
        pixel = number - frame * size * size
        x = float(pixel % size) + 0.5
        y = float(pixel / size) + 0.5
        features_frame = wp.min(frame, features.shape[0] - 1)
        gradient = picture_grad[frame, pixel]
        gradient_alpha = alpha_grad[frame, pixel]
        count = filled[frame, pixel]
        behind = float(0.0)
        for step in range(count):
            k = count - 1 - step
            point = indices[frame, pixel, k]
            disc = discs[frame, point]
            dx = x - disc[0]
            dy = y - disc[1]
            far = (dx * dx + dy * dy) / (disc[2] * disc[2])
            falloff = 1.0 - far
            a = disc[3] * falloff
            transmittance = before[frame, pixel, k]
            own = wp.dot(gradient, features[features_frame, point]) + gradient_alpha
            a_grad = transmittance * (own - behind)
            behind = a * own + (1.0 - a) * behind
            # da = 2 o (dx, dy) / r² · d(centre) + 2 o far / r · dr + falloff · do
            inward = a_grad * 2.0 * disc[3] / (disc[2] * disc[2])
            disc_grad = wp.vec4(inward * dx, inward * dy, inward * far * disc[2], a_grad * falloff)
            wp.atomic_add(discs_grad, frame, point, disc_grad)
            wp.atomic_add(features_grad, features_frame, point, gradient * (a * transmittance))

    return ShadeKernels(vector, shade, shade_backward)
