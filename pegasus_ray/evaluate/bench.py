"""How long drawing and fitting take, under the keys that all benchmarks share."""

from __future__ import annotations

import resource
import statistics
import time
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.corrections import TrackingCorrections
from pegasus_ray.avatar.fit.explicit_learner import ExplicitLearner
from pegasus_ray.avatar.fit.field_learner import FieldLearner
from pegasus_ray.avatar.fit.initialize import PointBudget, scatter_points
from pegasus_ray.avatar.fit.learner import Learner
from pegasus_ray.avatar.fit.perceptual import FeatureCache, random_perceptual
from pegasus_ray.avatar.fit.resolution import ResolutionRun
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints, render_points
from pegasus_ray.avatar.points.frames import FrameSet, Parameters
from pegasus_ray.avatar.points.motion import MotionCode
from pegasus_ray.evaluate.avatar import evaluate_avatar
from pegasus_ray.library.track import Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import fit, perceptual_network
from pegasus_ray.stages.render import draw_frame

PLAIN_HEAD_POSES = 8
"""Number of poses of the plain head in `bench_render_plain_head`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The keys that all benchmarks share."""

    seconds_per_frame: float  # to draw it; in a fit also to learn from it
    frames_per_second: float
    points: int
    size: int  # side of the pictures, pixels
    frames: int  # how many were measured, or how many a step has
    preset: str
    threads: int
    device: str
    peak_gib: float  # greatest memory of the whole process so far

    def facts(self) -> dict[str, float | int | str]:
        """For `--json`."""
        return asdict(self)


def bench_render(avatar: Avatar, track: Track, *, frames: int, size: int, fields: Fields | None = None) -> Timing:
    """Draw an avatar driven by a track, from its networks where it has some; the median of `frames` frames after a first one."""
    rig = load_rig(avatar.rig)
    points = fields.canonical(rig) if fields else avatar.canonical(avatar.anchors(rig))
    seconds = _seconds_to_draw(avatar, points, rig, Parameters.of(track), frames, size)
    return _timing(seconds, frames, len(avatar), size, "paper" if fields else "fast")


def bench_render_plain_head(config: FitConfig, *, points: int, frames: int, size: int) -> Timing:
    """Draw a plain head of `points` points that turns, in the way `bench_render` draws an avatar. Needs no library."""
    avatar, filmed, rig = unfitted_avatar(config, points, size, frames=PLAIN_HEAD_POSES)
    canonical = avatar.canonical(avatar.anchors(rig))
    seconds = _seconds_to_draw(avatar, canonical, rig, filmed.parameters, frames, size)
    return _timing(seconds, frames, points, size, "fast")


def _seconds_to_draw(
    avatar: Avatar, points: CanonicalPoints, rig: Rig, parameters: Parameters, frames: int, size: int
) -> float:
    """The median of `frames` frames after a first one; where there are fewer parameters, they are used several times."""
    seconds = []
    for index in range(frames + 1):
        row = parameters.rows(torch.tensor([index % len(parameters.head)]))
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
    """Time whole steps of a fit, from the code to the optimiser, on frames that share a code.

    Args:
        config: of the fit; its last stage says how many points a pixel blends. Where the weights of its perceptual network are
            missing, random ones are used, which take as long.
        points: how many the avatar has.
        size: side of the pictures, pixels.
        frames: how many a step has.
        steps: how many are measured after a first one; the median is taken.
        track: its first frames are used; without it, those of a plain head.
        preset: the name of the configuration.

    Returns:
        the keys of all benchmarks, for one frame; `cpu_seconds_per_frame`, summed over all threads, which depends less on what
        else the machine does; and `perceptual`, the network's name.
    """
    network, network_name = _perceptual_network_to_time(config.perceptual)
    stage = replace(config.stages[-1], steps=steps + 1)
    config = replace(config, stages=(stage,), batch=frames, watch_every=0)
    avatar, filmed, rig = unfitted_avatar(config, points, size, frames, track)
    generator = torch.Generator().manual_seed(config.seed)
    learner: Learner = ExplicitLearner(avatar, rig, config)
    if config.fields is not None:
        learner = FieldLearner.start(avatar, rig, config, generator, network=network)
    features = FeatureCache(network) if network is not None and config.fields is not None else None
    run = ResolutionRun(learner, TrackingCorrections(filmed.parameters), filmed, config, 0, features=features)
    seconds, cpu_seconds = [], []
    for step in range(steps + 1):
        began, used = time.perf_counter(), time.process_time()
        run.step(step, generator)
        seconds.append((time.perf_counter() - began) / frames)
        cpu_seconds.append((time.process_time() - used) / frames)
    timing = _timing(statistics.median(seconds[1:]), frames, points, size, preset)
    cpu_median = statistics.median(cpu_seconds[1:])
    return {**timing.facts(), "cpu_seconds_per_frame": cpu_median, "perceptual": network_name}


def unfitted_avatar(
    config: FitConfig, points: int, size: int, frames: int, track: Track | None = None
) -> tuple[Avatar, FrameSet, Rig]:
    """An avatar as it is before a fit, and frames to fit it to: a track's first, or without one the turning avatar itself."""
    generator = torch.Generator().manual_seed(config.seed)
    rig = load_rig(track.rig) if track is not None else load_rig()
    if track is not None:
        filmed = FrameSet.of(track.select(list(range(frames))), size)
        parameters, shape = filmed.parameters, torch.tensor(track.shape)
    else:
        parameters = _turning_head(frames, len(rig.expression_names), generator)
        shape = torch.zeros(len(rig.shape_names))
    motion = MotionCode.of(parameters.expression, parameters.head, parameters.torso, config.motion_components)
    budget = PointBudget(surface=2 * points, hair=points, cloth=points)
    scattered = scatter_points(rig, shape, motion, budget, generator)
    avatar = scattered.select(torch.randperm(len(scattered), generator=generator)[:points])
    if track is None:
        with torch.no_grad():
            drawn = render_points(avatar.canonical(avatar.anchors(rig)), rig, parameters.drive(avatar), size)
        filmed = FrameSet(
            images=drawn.image.clamp(0, 1),
            mattes=drawn.alpha,
            labels=(drawn.alpha > 0.5).byte(),
            parameters=parameters,
        )
    return avatar, filmed, rig


def _turning_head(frames: int, expressions: int, generator: torch.Generator) -> Parameters:
    """A head that turns from side to side with random expressions, 0.8 m before the camera, filling most of the picture."""
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


def _perceptual_network_to_time(name: str) -> tuple[nn.Module | None, str]:
    """A perceptual network and the name to report, with random weights where this machine has no others."""
    try:
        return perceptual_network(name), name
    except PegasusError as error:
        if error.reason is not Reason.ASSET_MISSING:
            raise
    return random_perceptual(name, torch.Generator().manual_seed(0)), f"{name}, random weights"


def bench_fit(
    track: Track, config: FitConfig, *, preset: str = "fast", progress: Progress | None = None
) -> dict[str, float | int | str]:
    """Time a whole fit: `seconds`, `psnr` (dB) on unseen frames, and the keys of all benchmarks, in which a frame is a step."""
    began = time.perf_counter()
    made = fit(track, config, progress=progress)
    seconds = time.perf_counter() - began
    steps = sum(stage.steps for stage in config.stages)
    score, _ = evaluate_avatar(track, made.avatar)
    timing = _timing(seconds / steps, steps, len(made.avatar), track.size, preset)
    return {**timing.facts(), "seconds": seconds, "psnr": score.psnr}


def _timing(seconds: float, frames: int, points: int, size: int, preset: str) -> Timing:
    """A measurement, in seconds a frame, together with the threads and the memory of this process."""
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
