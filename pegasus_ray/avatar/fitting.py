"""Fitting an avatar to a track: coarse to fine, by Adam on the rendered frames.

The loop knows nothing of where it runs: it reports progress by a callback, resumes exactly from its checkpoint, and says so when
it diverges.

Legend: T frames, N points.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pegasus_ray.avatar.checkpoint import load_checkpoint, save_checkpoint
from pegasus_ray.avatar.config import FitConfig
from pegasus_ray.avatar.densify import grow_points, worth_keeping
from pegasus_ray.avatar.frames import FrameSet, Parameters
from pegasus_ray.avatar.initialize import scatter_points
from pegasus_ray.avatar.model import Avatar, MotionCode
from pegasus_ray.avatar.observe import gather_evidence, propagate_parts
from pegasus_ray.avatar.stage import Residuals, StageRun
from pegasus_ray.library.track import Track
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason

Progress = Callable[[float, str], None]
"""Called with the share done, 0–1, and a short text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit gives."""

    avatar: Avatar
    parameters: Parameters  # of the fitted frames, as refined
    figures: dict[str, float]


def fit_avatar(
    track: Track,
    rig: Rig,
    config: FitConfig,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
) -> Fitted:
    """Fit an avatar to all frames of `track`; the caller holds out what it wants held out.

    Args:
        track: the frames and their parameters.
        rig: the rig that the parameters belong to.
        config: stages, budgets, rates.
        progress: told the share done.
        checkpoint: a file to resume from and to save to; removed when the fit is done.
        device: where to compute.

    Raises:
        PegasusError: DIVERGED when the loss is no longer a number or the head lies outside the mattes; TOO_FEW_FRAMES under four.
    """
    if len(track) < 4:
        raise PegasusError(
            Reason.TOO_FEW_FRAMES,
            f"{len(track)} frames are too few for an avatar; give at least 4",
            subject=track.source,
        )
    sizes = [max(32, round(track.size * stage.scale)) for stage in config.stages]
    frames = {size: FrameSet.of(track, size, device=device) for size in set(sizes)}
    generator = torch.Generator().manual_seed(config.seed)
    tracked = frames[sizes[0]].parameters
    residuals = Residuals(tracked)
    figures: dict[str, float] = {}
    resumed = load_checkpoint(checkpoint, config) if checkpoint else None
    on_device = rig.to(device)
    if resumed is None:
        motion = MotionCode.of(tracked.expression, tracked.head, tracked.torso, config.motion_components)
        scattered = scatter_points(rig, torch.tensor(track.shape), motion.to("cpu"), config.budget, generator).to(
            device
        )
        first, start = 0, 0
        run = StageRun(
            _carve(scattered, on_device, frames[sizes[0]], config, track.source),
            residuals,
            on_device,
            frames[sizes[0]],
            config,
            0,
        )
    else:
        first, start, figures = resumed.stage, resumed.step, resumed.figures
        residuals.values = {
            name: resumed.residuals[name].to(device) for name in residuals.values
        }  # Adam's state goes by their order
        run = StageRun(resumed.avatar.to(device), residuals, on_device, frames[sizes[first]], config, first)
        resumed.restore(run, generator)
    total = sum(stage.steps for stage in config.stages)
    for number in range(first, len(config.stages)):
        if number > first:
            avatar, residuals = run.avatar.detach(), run.residuals
            avatar = _reseed(
                avatar, on_device, frames[sizes[number - 1]], residuals, run.pull, config, number, generator
            )
            run, start = StageRun(avatar, residuals, on_device, frames[sizes[number]], config, number), 0
        before = sum(stage.steps for stage in config.stages[:number])
        for step in range(start, config.stages[number].steps):
            if checkpoint and step > start and step % config.checkpoint_every == 0:
                save_checkpoint(checkpoint, run, generator, config, stage=number, step=step, figures=figures)
            loss = run.step(step, generator)
            if not math.isfinite(loss):
                raise PegasusError(
                    Reason.DIVERGED,
                    f"the loss is {loss} at step {before + step}; lower fit.rates or look at the track",
                    subject=track.source,
                )
            if progress and step % 20 == 0:
                progress((before + step) / total, f"{sizes[number]}², {len(run.avatar)} points, loss {run.smooth:.3f}")
        figures[f"loss_{sizes[number]}"] = round(run.smooth, 5)
    avatar = label_parts(run.avatar.detach(), on_device, frames[sizes[-1]], config.evidence_frames)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return Fitted(avatar=avatar, parameters=run.residuals.corrected(), figures=figures | {"points": float(len(avatar))})


def label_parts(avatar: Avatar, rig: Rig, frames: FrameSet, count: int) -> Avatar:
    """Part logits from the track's part maps: each pixel votes for the points that make it up."""
    anchors = avatar.anchors(rig)
    evidence = gather_evidence(avatar, anchors, rig, frames, spread_frames(len(frames), count))
    prior = torch.softmax(avatar.part_logits, dim=-1)
    return replace(avatar, part_logits=propagate_parts(anchors.positions + avatar.offsets, evidence.parts, prior))


def spread_frames(total: int, count: int) -> Tensor:
    """At most `count` frame numbers, evenly spread over `total`."""
    return torch.from_numpy(np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64)))


def _carve(avatar: Avatar, rig: Rig, frames: FrameSet, config: FitConfig, source: str) -> Avatar:
    """Drop points outside of the visual hull, and give the visible ones their first colour."""
    evidence = gather_evidence(
        avatar, avatar.anchors(rig), rig, frames, spread_frames(len(frames), config.evidence_frames)
    )
    on_surface = avatar.offsets.square().sum(-1) == 0
    keep = (evidence.inside > torch.where(on_surface, 0.6, 0.9)) & (evidence.frames > 2)
    if int(keep.sum()) < 100:
        raise PegasusError(
            Reason.DIVERGED,
            "the tracked head does not lie inside the mattes; look at the track with `pegasus track --overlay`",
            subject=source,
        )
    seen = evidence.weight[:, None] > 0
    albedo = torch.where(seen, evidence.colour, torch.tensor([0.3, 0.22, 0.18], device=evidence.colour.device))
    return replace(avatar, albedo=albedo).select(keep)


def _reseed(
    avatar: Avatar,
    rig: Rig,
    frames: FrameSet,
    residuals: Residuals,
    pull: Tensor,
    config: FitConfig,
    number: int,
    generator: torch.Generator,
) -> Avatar:
    """Prune what is never seen, then grow to the number of points of stage `number`."""
    refined = replace(frames, parameters=residuals.corrected())
    evidence = gather_evidence(
        avatar, avatar.anchors(rig), rig, refined, spread_frames(len(frames), 2 * config.evidence_frames)
    )
    keep = worth_keeping(avatar, evidence.weight)
    return grow_points(avatar.select(keep), pull[keep], config.stages[number].points, generator)
