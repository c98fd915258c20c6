"""How long the rasteriser takes, and how much faster it is than the plain reference, measured in one run.

Legend: N points, C features, S side in pixels.
"""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.render.rasterize import Discs, rasterize


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchScene:
    """What is drawn: one frame of a head-sized ellipsoid of points."""

    points: int  # N
    size: int  # S
    per_pixel: int  # the K nearest that a pixel blends
    features: int = 3  # C
    device: str = "cpu"  # as torch names it


def bench_raster(scene: BenchScene, backend: str, *, repeats: int, against: str = "torch") -> dict[str, object]:
    """Time the drawing of a scene, forward and backward.

    The two backends take turns, so that whatever else the machine does affects both alike.

    Args:
        scene: what is drawn.
        backend: the rasteriser that is measured.
        repeats: of which the median is taken; one more goes before, unmeasured.
        against: the backend that it is compared with; the same name as `backend` for no comparison.

    Returns:
        The keys of every benchmark (`seconds_per_frame`, `frames_per_second`, `points`, `size`, `frames`, `preset`,
        `threads`, `device`, `peak_gib` — on a CPU of the whole process), and `backend`, `per_pixel`, `features`,
        `forward_seconds`, `backward_seconds`, `times_faster` {the other backend: ratio}.

    Raises:
        PegasusError: BAD_CONFIG for an unknown backend.
    """
    discs, features = _head(scene)
    names = dict.fromkeys((backend, against))
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(repeats + 1):
        for name in names:
            seconds[name].append(_forward_and_backward_seconds(discs, features, scene, name))
    forward = {name: statistics.median(pair[0] for pair in seconds[name][1:]) for name in names}
    backward = {name: statistics.median(pair[1] for pair in seconds[name][1:]) for name in names}
    total = {name: forward[name] + backward[name] for name in names}
    return {
        "seconds_per_frame": total[backend],
        "frames_per_second": 1 / total[backend],
        "points": scene.points,
        "size": scene.size,
        "frames": repeats,
        "preset": None,
        "threads": torch.get_num_threads(),
        "device": scene.device,
        "peak_gib": _peak_gib(scene.device),
        "backend": backend,
        "per_pixel": scene.per_pixel,
        "features": scene.features,
        "forward_seconds": forward[backend],
        "backward_seconds": backward[backend],
        "times_faster": {name: total[name] / total[backend] for name in names if name != backend},
    }


def _head(scene: BenchScene) -> tuple[Discs, Tensor]:
    """An ellipsoid that fills most of the picture, and its features; all leaves of the graph but the depth.

    The discs are sized so that they overlap alike for any number of points.
    """
    generator = torch.Generator().manual_seed(0)
    points, size, device = scene.points, scene.size, scene.device
    sphere = torch.nn.functional.normalize(torch.randn(1, points, 3, generator=generator), dim=-1)
    pixels = (0.5 + sphere[..., :2] * torch.tensor([0.275, 0.375])) * size
    depth = 2 + 0.6 * sphere[..., 2]
    radii = torch.full((1, points), 0.075 * (400 / points) ** 0.5 * size)
    opacity = torch.rand(points, generator=generator)
    features = torch.rand(points, scene.features, generator=generator)
    discs = Discs(
        pixels=pixels.to(device).requires_grad_(),
        depth=depth.to(device),
        radii=radii.to(device).requires_grad_(),
        opacity=opacity.to(device).requires_grad_(),
    )
    return discs, features.to(device).requires_grad_()


def _forward_and_backward_seconds(
    discs: Discs, features: Tensor, scene: BenchScene, backend: str
) -> tuple[float, float]:
    leaves = [discs.pixels, discs.radii, discs.opacity, features]
    start = _synchronised_time(features)
    raster = rasterize(discs, features, size=scene.size, per_pixel=scene.per_pixel, backend=backend)
    half = _synchronised_time(features)
    torch.autograd.grad([raster.features, raster.alpha], leaves, [raster.features, raster.alpha])
    return half - start, _synchronised_time(features) - half


def _synchronised_time(tensor: Tensor) -> float:
    """The time in seconds once the tensor's device has done all its work."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return time.perf_counter()


def _peak_gib(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kilobytes on Linux
