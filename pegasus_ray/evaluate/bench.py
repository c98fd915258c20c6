"""How long drawing and fitting take, in the keys that every benchmark answers with."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.fit.coded_frames import Looking
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.explicit_learner import ExplicitLearner, Learner
from pegasus_ray.avatar.fit.field_learner import FieldLearner
from pegasus_ray.avatar.fit.perceptual import random_perceptual
from pegasus_ray.avatar.fit.residuals import Residuals
from pegasus_ray.avatar.fit.stage import StageRun
from pegasus_ray.avatar.points.avatar import Avatar, MotionCode
from pegasus_ray.avatar.points.canonical import CanonicalPoints, render_points
from pegasus_ray.avatar.points.frames import FrameSet, Parameters
from pegasus_ray.avatar.points.initialize import PointBudget, scatter_points
from pegasus_ray.evaluate.avatar import evaluate_avatar
from pegasus_ray.library.track import Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import fit, perceptual_network
from pegasus_ray.stages.render import draw_frame


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


def bench_render(avatar: Avatar, track: Track, *, frames: int, size: int, fields: Fields | None = None) -> Timing:
    """Draw an avatar driven by a track, by its networks where there are any; the median of `frames` frames after the first."""
    rig = load_rig(avatar.rig)
    points = fields.canonical(rig) if fields else avatar.canonical(avatar.anchors(rig))
    rows = Parameters.of(track)
    seconds = _seconds_to_draw(avatar, points, rig, rows, frames, size)
    return _timing(seconds, frames, len(avatar), size, "paper" if fields else "fast")


def bench_render_stand_in(config: FitConfig, *, points: int, frames: int, size: int) -> Timing:
    """Draw a grey head of `points` explicit points that looks about, as `bench_render` draws an avatar. Needs no library."""
    avatar, shown, rig = stand_in(config, points, size, frames=8)
    canonical = avatar.canonical(avatar.anchors(rig))
    seconds = _seconds_to_draw(avatar, canonical, rig, shown.parameters, frames, size)
    return _timing(seconds, frames, points, size, "fast")


def _seconds_to_draw(
    avatar: Avatar, points: CanonicalPoints, rig: Rig, rows: Parameters, frames: int, size: int
) -> float:
    """The median of `frames` frames after a first one, over and over the rows where there are fewer."""
    seconds = []
    for index in range(frames + 1):
        row = rows.rows(torch.tensor([index % len(rows.head)]))
        began = time.perf_counter()
        draw_frame(avatar, points, rig, row, size)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[1:])


def bench_step(
    config: FitConfig,
    *,
    points: int,
    size: int,
    frames: int,
    steps: int,
    track: Track | None = None,
    preset: str = "fast",
) -> dict[str, float | int | str]:
    """Steps of a fit: everything from the code to the optimiser, on frames that share a code.

    Args:
        config: of the fit; its last stage's points a pixel. A perceptual network without its weights has some of chance: as slow.
        points: how many.
        size: side of the pictures.
        frames: of a step.
        steps: measured after a first one; the median is taken.
        track: whose frames; without it, a grey head before the camera.
        preset: what the configuration is called.

    Returns:
        the keys of every benchmark for one frame, `cpu_seconds_per_frame` of all threads together, which a busy machine does not
        change as much, and `perceptual`.
    """
    network, named = _timed_network(config.perceptual)
    stage = replace(config.stages[-1], steps=steps + 1)
    config = replace(config, stages=(stage,), batch=frames, watch_every=0)
    avatar, shown, rig = stand_in(config, points, size, frames, track)
    generator = torch.Generator().manual_seed(config.seed)
    learner: Learner = ExplicitLearner(avatar, rig, config)
    if config.fields is not None:
        learner = FieldLearner.start(avatar, rig, config, generator, network=network)
    looking = Looking(network) if network is not None and config.fields is not None else None
    run = StageRun(learner, Residuals(shown.parameters), shown, config, 0, looking=looking)
    seconds, busy = [], []
    for step in range(steps + 1):
        began, worked = time.perf_counter(), time.process_time()
        run.step(step, generator)
        seconds.append((time.perf_counter() - began) / frames)
        busy.append((time.process_time() - worked) / frames)
    timing = _timing(statistics.median(seconds[1:]), frames, points, size, preset)
    return {**timing.facts(), "cpu_seconds_per_frame": statistics.median(busy[1:]), "perceptual": named}


def stand_in(
    config: FitConfig, points: int, size: int, frames: int, track: Track | None = None
) -> tuple[Avatar, FrameSet, Rig]:
    """Points on a rig and frames to fit them to: a track's first, or a grey head looking about, drawn from the points."""
    generator = torch.Generator().manual_seed(config.seed)
    rig = load_rig(track.rig) if track is not None else load_rig()
    if track is not None:
        shown = FrameSet.of(track.select(list(range(frames))), size)
        rows, shape = shown.parameters, torch.tensor(track.shape)
    else:
        rows, shape = _looking_about(frames, len(rig.expression_names), generator), torch.zeros(len(rig.shape_names))
    motion = MotionCode.of(rows.expression, rows.head, rows.torso, config.motion_components)
    budget = PointBudget(surface=2 * points, hair=points, cloth=points)
    spread = scatter_points(rig, shape, motion, budget, generator)
    avatar = spread.select(torch.randperm(len(spread), generator=generator)[:points])
    if track is None:
        with torch.no_grad():
            drawn = render_points(avatar.canonical(avatar.anchors(rig)), rig, rows.drive(avatar), size, full=False)
        shown = FrameSet(
            images=drawn.image.clamp(0, 1), mattes=drawn.alpha, labels=(drawn.alpha > 0.5).byte(), parameters=rows
        )
    return avatar, shown, rig


def _looking_about(frames: int, expressions: int, generator: torch.Generator) -> Parameters:
    """A head that turns from side to side, 0.8 m before the camera, filling most of the picture."""
    head = torch.zeros(frames, 6)
    head[:, 1] = torch.linspace(-0.4, 0.4, frames)
    head[:, 4:] = torch.tensor([0.06, 0.8])
    return Parameters(
        expression=0.3 * torch.rand(frames, expressions, generator=generator),
        head=head,
        torso=head * torch.tensor([1, 0.3, 1, 1, 1, 1]),
        jaw=torch.zeros(frames, 3),
        eyes=torch.zeros(frames, 6),
        camera=torch.tensor([2.0, 0.5, 0.5]).expand(frames, 3).clone(),
    )


def _timed_network(name: str) -> tuple[nn.Module | None, str]:
    """A perceptual network to time, and what it is called: with weights of chance where there are no others."""
    try:
        return perceptual_network(name), name
    except PegasusError as error:
        if error.reason is not Reason.ASSET_MISSING:
            raise
    return random_perceptual(name, torch.Generator().manual_seed(0)), f"{name}, random weights"


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
