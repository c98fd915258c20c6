"""How long the rasteriser takes, and how much faster it is than the plain reference, measured in one run.

Legend: N points, C features, S side in pixels.
"""

from __future__ import annotations

import resource
import statistics
import time

import torch
from torch import Tensor

from pegasus_ray.render.rasterize import rasterize


def bench_raster(
    points: int,
    size: int,
    per_pixel: int,
    repeats: int,
    backend: str,
    *,
    features: int = 3,
    device: str = "cpu",
    against: str = "torch",
) -> dict[str, object]:
    """Time one frame of a head-sized ellipsoid of points, forward and backward.

    The two backends take turns, so that whatever else the machine does meets both.

    Args:
        points: N.
        size: S.
        per_pixel: the K nearest that a pixel blends.
        repeats: of which the median is taken; one more goes before, unmeasured.
        backend: that is measured.
        features: C.
        device: as torch names it.
        against: the backend that it is compared with; the same name as `backend` for no comparison.

    Returns:
        The keys of every benchmark (`seconds_per_frame`, `frames_per_second`, `points`, `size`, `frames`, `preset`,
        `threads`, `device`, `peak_gib` — on a CPU of the whole process), and `backend`, `per_pixel`, `features`,
        `forward_seconds`, `backward_seconds`, `times_faster` {the other backend: ratio}.

    Raises:
        PegasusError: BAD_CONFIG for a backend that there is not.
    """
    inputs = _head(points, size, features, device)
    names = dict.fromkeys((backend, against))
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(repeats + 1):
        for name in names:
            seconds[name].append(_seconds(inputs, size, per_pixel, name))
    forward = {name: statistics.median(pair[0] for pair in seconds[name][1:]) for name in names}
    backward = {name: statistics.median(pair[1] for pair in seconds[name][1:]) for name in names}
    total = {name: forward[name] + backward[name] for name in names}
    return {
        "seconds_per_frame": total[backend],
        "frames_per_second": 1 / total[backend],
        "points": points,
        "size": size,
        "frames": repeats,
        "preset": None,
        "threads": torch.get_num_threads(),
        "device": device,
        "peak_gib": _peak_gib(device),
        "backend": backend,
        "per_pixel": per_pixel,
        "features": features,
        "forward_seconds": forward[backend],
        "backward_seconds": backward[backend],
        "times_faster": {name: total[name] / total[backend] for name in names if name != backend},
    }


def _head(points: int, size: int, features: int, device: str) -> dict[str, Tensor]:
    """An ellipsoid that fills most of the picture, its discs sized so that they overlap alike for any number of points."""
    generator = torch.Generator().manual_seed(0)
    sphere = torch.nn.functional.normalize(torch.randn(1, points, 3, generator=generator), dim=-1)
    inputs = {
        "pixels": (0.5 + sphere[..., :2] * torch.tensor([0.275, 0.375])) * size,
        "depth": 2 + 0.6 * sphere[..., 2],
        "radii": torch.full((1, points), 0.075 * (400 / points) ** 0.5 * size),
        "opacity": torch.rand(points, generator=generator),
        "features": torch.rand(points, features, generator=generator),
    }
    return {name: tensor.to(device).requires_grad_(name != "depth") for name, tensor in inputs.items()}


def _seconds(inputs: dict[str, Tensor], size: int, per_pixel: int, backend: str) -> tuple[float, float]:
    leaves = [tensor for tensor in inputs.values() if tensor.requires_grad]
    start = _now(leaves[0])
    raster = rasterize(**inputs, size=size, per_pixel=per_pixel, backend=backend)
    half = _now(leaves[0])
    torch.autograd.grad([raster.features, raster.alpha], leaves, [raster.features, raster.alpha])
    return half - start, _now(leaves[0]) - half


def _now(tensor: Tensor) -> float:
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()


def _peak_gib(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux
