"""Fitting an avatar to a track: coarse to fine, by Adam on the rendered frames.

One loop fits explicit points and fields alike (`Learner`). It knows nothing of where it runs: it reports progress by a
callback, resumes exactly from its checkpoint, and says so when it diverges.

Legend: T frames, N points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.fields.bake import bake_avatar
from pegasus_ray.avatar.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pegasus_ray.avatar.fit.coded_frames import Clips, Looking
from pegasus_ray.avatar.fit.complete_unseen import complete_hidden
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.densify import worth_keeping
from pegasus_ray.avatar.fit.evidence import flesh_share, gather_evidence, propagate_parts
from pegasus_ray.avatar.fit.explicit_learner import ExplicitLearner, Learner
from pegasus_ray.avatar.fit.field_learner import FieldLearner
from pegasus_ray.avatar.fit.motion_mask import torso_part
from pegasus_ray.avatar.fit.residuals import Residuals
from pegasus_ray.avatar.fit.stage import StageRun
from pegasus_ray.avatar.points.avatar import Avatar, MotionCode
from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.avatar.points.frames import FrameSet, Parameters
from pegasus_ray.avatar.points.initialize import scatter_points
from pegasus_ray.library.track import Track
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.progress import Progress

MOST_AVERTED = -0.2
"""Cosine between a point's normal and the ray to the camera under which, in all frames, nobody can say whether hair is there.

Hair on the crown, whose normal points up, makes the outline and must stay."""

MOST_FLESH = 0.4
"""Share of the looks at a point of a shell in which it may fall on bare skin: one that does hovers before a face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit gives."""

    avatar: Avatar  # explicit; of fields, what they were baked to
    parameters: Parameters  # of the fitted frames, as refined
    figures: dict[str, float]
    fields: Fields | None = None  # the networks and their points, where the preset has them


def fit_avatar(
    track: Track,
    rig: Rig,
    config: FitConfig,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
    clips: Clips | None = None,
    perceptual: nn.Module | None = None,
) -> Fitted:
    """Fit an avatar to all frames of `track`; the caller holds out what it wants held out.

    Args:
        track: the frames and their parameters.
        rig: the rig that the parameters belong to.
        config: stages, budgets, rates.
        progress: told the share done.
        checkpoint: a file to resume from and to save to; removed when the fit is done.
        device: where to compute.
        clips: which frames are under which code, where `track` holds several videos of one person (preset `paper`).
        perceptual: the network of the perceptual term; without it there is no such term.

    Raises:
        PegasusError: DIVERGED when the loss is no longer a number, points explode, or the head lies outside the mattes;
            TOO_FEW_FRAMES under four.
    """
    if len(track) < 4:
        raise PegasusError(
            Reason.TOO_FEW_FRAMES,
            f"{len(track)} frames are too few for an avatar; give at least 4",
            subject=track.source,
        )
    clips = clips or Clips.single(len(track), track.source)
    looking = Looking(perceptual.to(device)) if perceptual is not None else None
    sizes = [max(32, round(track.size * stage.scale)) for stage in config.stages]
    frames = {size: FrameSet.of(track, size, device=device) for size in set(sizes)}
    generator = torch.Generator().manual_seed(config.seed)
    tracked = frames[sizes[0]].parameters
    residuals = Residuals(tracked)
    figures: dict[str, float] = {}
    resumed = load_checkpoint(checkpoint, config) if checkpoint else None
    on_device = rig.to(device)
    first, start = 0, 0
    if resumed is None:
        motion = MotionCode.of(tracked.expression, tracked.head, tracked.torso, config.motion_components)
        scattered = scatter_points(rig, torch.tensor(track.shape), motion.to("cpu"), config.budget, generator)
        carved = _carve(scattered.to(device), on_device, frames[sizes[0]], config, track.source)
    else:
        first, start, figures, carved = resumed.stage, resumed.step, resumed.figures, resumed.avatar.to(device)
        residuals.values = {
            name: resumed.residuals[name].to(device) for name in residuals.values
        }  # Adam's state goes by their order
    learner = _learner(carved, on_device, config, generator, clips, perceptual, resumed)
    run = StageRun(learner, residuals, frames[sizes[first]], config, first, clips=clips, looking=looking)
    if resumed is not None:
        resumed.restore(run, generator)
    total = sum(stage.steps for stage in config.stages)
    for number in range(first, len(config.stages)):
        if number > first:
            learner = _reseed(run, config, number, generator)
            run = StageRun(learner, run.residuals, frames[sizes[number]], config, number, clips=clips, looking=looking)
            start = 0
        before = sum(stage.steps for stage in config.stages[:number])
        for step in range(start, config.stages[number].steps):
            if checkpoint and step > start and step % config.checkpoint_every == 0:
                save_checkpoint(checkpoint, run, generator, config, stage=number, step=step, figures=figures)
            run.check(run.step(step, generator), step)
            if run.flat(step):
                figures[f"stopped_{sizes[number]}"] = float(step)
                break
            if progress and step % 20 == 0:
                progress((before + step) / total, f"{sizes[number]}², {len(run.avatar)} points, loss {run.smooth:.3f}")
        figures[f"loss_{sizes[number]}"] = round(run.smooth, 5)
    avatar, fields = _finish(run, frames[sizes[-1]], config)
    if checkpoint:
        checkpoint.unlink(missing_ok=True)
    return Fitted(
        avatar=avatar,
        parameters=run.residuals.corrected(),
        figures=figures | {"points": float(len(avatar))},
        fields=fields,
    )


def _learner(
    points: Avatar,
    rig: Rig,
    config: FitConfig,
    generator: torch.Generator,
    clips: Clips,
    perceptual: nn.Module | None,
    resumed: Checkpoint | None,
) -> Learner:
    """What the configuration says is to be learned, as new or as it was."""
    if config.fields is None:
        return ExplicitLearner(points, rig, config)
    learner = FieldLearner.start(points, rig, config, generator, choices=clips.choices(), network=perceptual)
    if resumed is None:
        learner.settle(config.settle_steps, generator)
        return learner
    learner.load(resumed.model)
    return learner.over(points)


def _finish(run: StageRun, frames: FrameSet, config: FitConfig) -> tuple[Avatar, Fields | None]:
    """The avatar with its part labels; of fields, the networks and what they are baked to."""
    learner, rig = run.learner, run.learner.rig
    with torch.no_grad():
        points = learner.canonical(run.clips.codes[0])
    refined = replace(frames, parameters=run.residuals.corrected())
    if not isinstance(learner, FieldLearner):
        chosen = spread_frames(len(frames), 2 * config.evidence_frames)
        generator = torch.Generator().manual_seed(config.seed)
        avatar = complete_hidden(
            run.avatar.detach(), rig, refined, chosen, backing=config.budget.backing, generator=generator
        )
        points = avatar.canonical(avatar.anchors(rig))
        return label_parts(avatar, points, rig, frames, config.evidence_frames), None
    avatar = label_parts(run.avatar.detach(), points, rig, frames, config.evidence_frames)
    fields = Fields(networks=learner.fields, points=avatar)
    return bake_avatar(learner.fields, avatar, rig, refined, run.clips), fields


def label_parts(avatar: Avatar, points: CanonicalPoints, rig: Rig, frames: FrameSet, count: int) -> Avatar:
    """Part logits from the track's part maps: each pixel votes for the points that make it up."""
    evidence = gather_evidence(avatar, points, rig, frames, spread_frames(len(frames), count))
    prior = torch.softmax(avatar.part_logits, dim=-1)
    return replace(avatar, part_logits=propagate_parts(points.positions, evidence.parts, prior))


def spread_frames(total: int, count: int) -> Tensor:
    """At most `count` frame numbers, evenly spread over `total`."""
    return torch.from_numpy(np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64)))


def _carve(avatar: Avatar, rig: Rig, frames: FrameSet, config: FitConfig, source: str) -> Avatar:
    """Drop points outside of the visual hull, and hair and cloth before bare skin or where no frame looks; colour the rest."""
    points = avatar.canonical(avatar.anchors(rig))
    chosen = spread_frames(len(frames), config.evidence_frames)
    evidence = gather_evidence(avatar, points, rig, frames, chosen)
    on_surface = avatar.offsets.square().sum(-1) == 0
    keep = (evidence.inside > torch.where(on_surface, 0.6, 0.9)) & (evidence.frames > 2)
    flesh, turned = flesh_share(avatar, points, rig, frames, chosen)
    loose = torso_part(avatar, rig)  # hair that hangs by the neck shows its inner side
    keep &= on_surface | ((flesh < MOST_FLESH) & (loose | (turned > MOST_AVERTED)))
    if int(keep.sum()) < 100:
        raise PegasusError(
            Reason.DIVERGED,
            "the tracked head does not lie inside the mattes; look at the track with `pegasus track --overlay`",
            subject=source,
        )
    seen = evidence.weight[:, None] > 0
    albedo = torch.where(seen, evidence.colour, torch.tensor([0.3, 0.22, 0.18], device=evidence.colour.device))
    return replace(avatar, albedo=albedo).select(keep)


def _reseed(run: StageRun, config: FitConfig, number: int, generator: torch.Generator) -> Learner:
    """The model over points without those that are never seen, grown to the number of points of stage `number`."""
    refined = replace(run.frames, parameters=run.residuals.corrected())
    chosen = spread_frames(len(run.frames), 2 * config.evidence_frames)
    with torch.no_grad():
        points = run.learner.canonical(run.clips.codes[0])
    evidence = gather_evidence(run.avatar.detach(), points, run.learner.rig, refined, chosen)
    keep = worth_keeping(run.avatar, evidence.weight, evidence.inside)
    return run.learner.over(run.learner.grow(keep, run.pull, config.stages[number].points, generator))
