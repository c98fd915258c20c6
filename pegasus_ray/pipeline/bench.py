"""How long drawing and fitting take, in the keys that every benchmark answers with."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import asdict, dataclass, replace

import torch

from pegasus_ray.avatar.config import FitConfig
from pegasus_ray.avatar.model import Avatar
from pegasus_ray.library.track import Track
from pegasus_ray.pipeline.evaluate import evaluate_avatar
from pegasus_ray.pipeline.fit import fit
from pegasus_ray.pipeline.render import render_clip
from pegasus_ray.pipeline.work import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The keys of `bench`."""

    seconds_per_frame: float  # of a step: for one drawn and learned from
    frames_per_second: float
    points: int
    size: int
    frames: int  # measured
    preset: str
    threads: int
    device: str
    peak_gib: float  # on processors: of the whole process so far

    def facts(self) -> dict[str, float | int | str]:
        """For `--json`."""
        return asdict(self)


def bench_render(avatar: Avatar, track: Track, *, frames: int, size: int, preset: str = "fast") -> Timing:
    """Draw an avatar driven by a track; the median of `frames` frames after the first."""
    chosen = [index % len(track) for index in range(frames + 1)]
    began, seconds = time.perf_counter(), []
    for _ in render_clip(avatar, track, frames=chosen, size=size):
        seconds.append(time.perf_counter() - began)
        began = time.perf_counter()
    return _timing(statistics.median(seconds[1:]), frames, len(avatar), size, preset)


def bench_step(track: Track, config: FitConfig, *, steps: int, preset: str = "fast") -> Timing:
    """Steps of a fit's last stage, from a start without the stages before it; what the start takes is left out."""
    once, often = (_seconds(track, config, count) for count in (1, steps + 1))
    each = max((often[0] - once[0]) / steps, 1e-9)
    return _timing(each, steps, often[1], round(track.size * config.stages[-1].scale), preset)


def bench_fit(
    track: Track, config: FitConfig, *, preset: str = "fast", progress: Progress | None = None
) -> dict[str, float | int | str]:
    """A whole fit: `seconds` for it, `psnr` on its unseen frames, and the keys of every benchmark, a step as a frame."""
    began = time.perf_counter()
    made = fit(track, config, progress=progress)
    seconds = time.perf_counter() - began
    steps = sum(stage.steps for stage in config.stages)
    score, _ = evaluate_avatar(track, made.avatar)
    timing = _timing(seconds / steps, steps, len(made.avatar), track.size, preset)
    return {**timing.facts(), "seconds": seconds, "psnr": score.psnr}


def _seconds(track: Track, config: FitConfig, steps: int) -> tuple[float, int]:
    """Seconds of a fit with one stage of so many steps, and its number of points."""
    short = replace(config, stages=(replace(config.stages[-1], steps=steps),))
    began = time.perf_counter()
    made = fit(track, short)
    return time.perf_counter() - began, len(made.avatar)


def _timing(seconds: float, frames: int, points: int, size: int, preset: str) -> Timing:
    return Timing(
        seconds_per_frame=seconds,
        frames_per_second=1 / seconds,
        points=points,
        size=size,
        frames=frames,
        preset=preset,
        threads=torch.get_num_threads(),
        device="cpu",
        peak_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,  # kilobytes on Linux
    )
