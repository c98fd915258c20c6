"""Fitting an avatar to a track: coarse to fine, by Adam on the rendered frames.

One loop fits explicit points and fields alike, behind the protocol `Learner`. It does not depend on where it runs: it reports
progress by a callback, resumes exactly from its checkpoint, and raises an error when it diverges.

Legend: T frames, N points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.fields.bake import bake_avatar
from pegasus_ray.avatar.fit.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from pegasus_ray.avatar.fit.coded_frames import CodedFrames
from pegasus_ray.avatar.fit.complete_unseen import complete_unseen
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.corrections import TrackingCorrections
from pegasus_ray.avatar.fit.densify import points_to_keep
from pegasus_ray.avatar.fit.evidence import bare_skin_share, gather_evidence, propagate_parts
from pegasus_ray.avatar.fit.explicit_learner import ExplicitLearner
from pegasus_ray.avatar.fit.field_learner import FieldLearner
from pegasus_ray.avatar.fit.initialize import scatter_points
from pegasus_ray.avatar.fit.learner import Learner
from pegasus_ray.avatar.fit.motion_mask import moved_by_torso
from pegasus_ray.avatar.fit.perceptual import FeatureCache
from pegasus_ray.avatar.fit.resolution import ResolutionRun
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.avatar.points.frames import FrameSet, Parameters
from pegasus_ray.avatar.points.motion import MotionCode
from pegasus_ray.library.track import Track
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.progress import Progress

MIN_FRAMES = 4
"""An avatar cannot be fitted to fewer frames."""

MIN_SHELL_FACING_COSINE = -0.2
"""Bound on the cosine between a point's normal and the ray to the camera, for points over the rig's surface.

A point whose cosine is below it in all frames is dropped, because no frame shows whether there is hair. The bound is negative,
because hair on the crown, whose normal points up, makes the outline and must stay."""

MAX_BARE_SKIN_SHARE = 0.4
"""Share of its frames in which a point over the surface may fall on bare skin; with more it hovers in front of the face."""

MIN_HULL_SHARE = 0.9
"""Share of its frames in which a point over the surface must fall on the person: the visual hull, with some tolerance."""

MIN_HULL_SHARE_ON_SURFACE = 0.6
"""The same for a point on the rig's surface, whose place is more certain."""

MIN_HELD_FRAMES = 2
"""A point whose centre lies within the picture in only this many frames or fewer is dropped."""

MIN_CARVED_POINTS = 100
"""Fewer points after carving mean that the head lies outside the mattes."""

UNSEEN_COLOUR = (0.3, 0.22, 0.18)
"""First colour of points that no frame shows: a dark brown."""

PROGRESS_EVERY_STEPS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FitContext:
    """What a fit needs besides its data and its configuration."""

    progress: Progress | None = None
    checkpoint: Path | None = (
        None  # a file to resume from and to save to; the caller removes it once the result is safe
    )
    device: str = "cpu"  # where to compute
    perceptual: nn.Module | None = None  # network of the perceptual term; without it there is no such term

    def feature_cache(self) -> FeatureCache | None:
        """A new cache of the real frames' perceptual features, on the device; None without a perceptual term."""
        return None if self.perceptual is None else FeatureCache(self.perceptual.to(self.device))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The result of a fit."""

    avatar: Avatar  # explicit points; where fields were fitted, the points that they were baked to
    parameters: Parameters  # of the fitted frames, as corrected
    figures: dict[str, float]
    fields: Fields | None = None  # the networks and their points, where the preset has them


def fit_avatar(
    track: Track,
    rig: Rig,
    config: FitConfig,
    *,
    coded: CodedFrames | None = None,
    context: FitContext | None = None,
) -> Fitted:
    """Fit an avatar to all frames of `track`; the caller holds out what it wants held out.

    Args:
        track: the frames and their parameters.
        rig: the rig that the parameters belong to.
        config: resolutions, budgets, rates.
        coded: which frames are under which code, where `track` holds several videos of one person (preset `paper`).
        context: progress, checkpoint, device and perceptual network; by default none of them, on the CPU.

    Raises:
        PegasusError: DIVERGED when the loss is no longer a number, points explode, or the head lies outside the mattes;
            TOO_FEW_FRAMES under four.
    """
    if len(track) < MIN_FRAMES:
        raise PegasusError(
            Reason.TOO_FEW_FRAMES,
            f"{len(track)} frames are too few for an avatar; give at least {MIN_FRAMES}",
            subject=track.source,
        )
    context = context or FitContext()
    checkpoint, device = context.checkpoint, context.device
    coded = coded or CodedFrames.under_one_code(len(track), track.source)
    cache = context.feature_cache()
    sizes = [resolution.side(track.size) for resolution in config.stages]
    frames = {size: FrameSet.of(track, size, device=device) for size in set(sizes)}
    generator = torch.Generator().manual_seed(config.seed)
    tracked = frames[sizes[0]].parameters
    corrections = TrackingCorrections(tracked)
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
        corrections.values = {
            name: resumed.corrections[name].to(device) for name in corrections.values
        }  # in this order, which Adam's state relies on
    learner = _learner(carved, on_device, config, generator, coded, context.perceptual, resumed)
    run = ResolutionRun(learner, corrections, frames[sizes[first]], config, first, coded=coded, features=cache)
    if resumed is not None:
        resumed.restore(run, generator)
    total = sum(resolution.steps for resolution in config.stages)
    for number in range(first, len(config.stages)):
        if number > first:
            learner = _reseed(run, config, number, generator)
            finer = frames[sizes[number]]
            run = ResolutionRun(learner, run.corrections, finer, config, number, coded=coded, features=cache)
            start = 0
        before = sum(resolution.steps for resolution in config.stages[:number])
        for step in range(start, config.stages[number].steps):
            if checkpoint and step > start and step % config.checkpoint_every == 0:
                save_checkpoint(checkpoint, run, generator, config, stage=number, step=step, figures=figures)
            run.check(run.step(step, generator), step)
            if run.has_converged(step):
                figures[f"stopped_{sizes[number]}"] = float(step)
                break
            if context.progress and step % PROGRESS_EVERY_STEPS == 0:
                text = f"{sizes[number]}², {len(run.avatar)} points, loss {run.smoothed_loss:.3f}"
                context.progress((before + step) / total, text)
        figures[f"loss_{sizes[number]}"] = round(run.smoothed_loss, 5)
    avatar, fields = _finish(run, frames[sizes[-1]], config)
    return Fitted(
        avatar=avatar,
        parameters=run.corrections.corrected(),
        figures=figures | {"points": float(len(avatar))},
        fields=fields,
    )


def _learner(
    points: Avatar,
    rig: Rig,
    config: FitConfig,
    generator: torch.Generator,
    coded: CodedFrames,
    perceptual: nn.Module | None,
    resumed: Checkpoint | None,
) -> Learner:
    """The model that the configuration asks for: new, or as the checkpoint has it."""
    if config.fields is None:
        return ExplicitLearner(points, rig, config)
    learner = FieldLearner.start(points, rig, config, generator, choices=coded.choices(), network=perceptual)
    if resumed is None:
        learner.pretrain(config.settle_steps, generator)
        return learner
    learner.load(resumed.model)
    return learner.with_points(points)


def _finish(run: ResolutionRun, frames: FrameSet, config: FitConfig) -> tuple[Avatar, Fields | None]:
    """The explicit avatar with its part labels, and the networks where fields were fitted."""
    learner, rig = run.learner, run.learner.rig
    with torch.no_grad():
        points = learner.canonical(run.coded.codes[0])
    corrected = replace(frames, parameters=run.corrections.corrected())
    if not isinstance(learner, FieldLearner):
        chosen = _evenly(len(frames), 2 * config.evidence_frames)
        generator = torch.Generator().manual_seed(config.seed)
        avatar = complete_unseen(
            run.avatar.detach(), rig, corrected, chosen, backing=config.budget.backing, generator=generator
        )
        points = avatar.canonical(avatar.anchors(rig))
        return _label_parts(avatar, points, rig, frames, config.evidence_frames), None
    avatar = _label_parts(run.avatar.detach(), points, rig, frames, config.evidence_frames)
    fields = Fields(networks=learner.fields, points=avatar)
    own = corrected.parameters.rows(run.coded.own_frames())
    return bake_avatar(learner.fields, avatar, rig, own, run.coded.codes[0]), fields


def _label_parts(avatar: Avatar, points: CanonicalPoints, rig: Rig, frames: FrameSet, count: int) -> Avatar:
    """The avatar with part logits from the part maps of `count` frames: each pixel votes for the points that make it up."""
    evidence = gather_evidence(avatar, points, rig, frames, _evenly(len(frames), count))
    prior = torch.softmax(avatar.part_logits, dim=-1)
    return replace(avatar, part_logits=propagate_parts(points.positions, evidence.parts, prior))


def _evenly(total: int, count: int) -> Tensor:
    """At most `count` frame numbers, evenly spaced over `total` frames."""
    return torch.from_numpy(evenly(total, count))


def _carve(avatar: Avatar, rig: Rig, frames: FrameSet, config: FitConfig, source: str) -> Avatar:
    """Drop points that cannot belong to the person, and give the others their first colours.

    Dropped are points outside the visual hull, and points over the surface (hair, cloth) that hover in front of bare skin or face
    away in all frames. Points that the torso moves are exempt from the last rule, because hair by the neck shows its inner side.
    """
    points = avatar.canonical(avatar.anchors(rig))
    chosen = _evenly(len(frames), config.evidence_frames)
    evidence = gather_evidence(avatar, points, rig, frames, chosen)
    on_surface = avatar.offsets.square().sum(-1) == 0
    least = torch.where(on_surface, MIN_HULL_SHARE_ON_SURFACE, MIN_HULL_SHARE)
    keep = (evidence.inside > least) & (evidence.frames > MIN_HELD_FRAMES)
    on_skin, facing = bare_skin_share(avatar, points, rig, frames, chosen)
    looked_at = moved_by_torso(avatar, rig) | (facing > MIN_SHELL_FACING_COSINE)
    keep &= on_surface | ((on_skin < MAX_BARE_SKIN_SHARE) & looked_at)
    if int(keep.sum()) < MIN_CARVED_POINTS:
        raise PegasusError(
            Reason.DIVERGED,
            "the tracked head does not lie inside the mattes; look at the track with `pegasus track --overlay`",
            subject=source,
        )
    seen = evidence.weight[:, None] > 0
    albedo = torch.where(seen, evidence.colour, torch.tensor(UNSEEN_COLOUR, device=evidence.colour.device))
    return replace(avatar, albedo=albedo).select(keep)


def _reseed(run: ResolutionRun, config: FitConfig, number: int, generator: torch.Generator) -> Learner:
    """The model for resolution `number`: points that are never seen are dropped, then points are grown to the number wanted."""
    corrected = replace(run.frames, parameters=run.corrections.corrected())
    chosen = _evenly(len(run.frames), 2 * config.evidence_frames)
    with torch.no_grad():
        points = run.learner.canonical(run.coded.codes[0])
    evidence = gather_evidence(run.avatar.detach(), points, run.learner.rig, corrected, chosen)
    keep = points_to_keep(run.avatar, evidence.weight, evidence.inside)
    grown = run.learner.grow(keep, run.gradient_length, config.stages[number].points, generator)
    return run.learner.with_points(grown)
