"""Studio people for examinations: who lends what to whom, and the true picture that recombining is to reach.

The studio can film the same person in the same motion with another's hair, nose or mouth: the truth of a swap, which no
camera has. The people are those of the seeds from `ExamConfig.seed` on, which no setting was chosen by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.jobs.all import FitJob, PersonalizeJob, SwapJob
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.results import read_avatar, read_track
from pegasus_ray.jobs.studio import StudioConfig, StudioJob
from pegasus_ray.jobs.work import Job
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage
from pegasus_ray.schemas.parts import Attribute, Label, labels_of
from pegasus_ray.stages.config import PipelineConfig
from pegasus_ray.studio.film.render import render
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.people import HairStyle, Hat, HatStyle, Person, person, swap_parts

Region = npt.NDArray[np.bool_]  # (S, S)

HATS = (
    Hat(style=HatStyle.BEANIE, colour=(0.55, 0.16, 0.18), accent=(0.86, 0.82, 0.74)),
    Hat(style=HatStyle.CAP, colour=(0.16, 0.26, 0.44), accent=(0.80, 0.78, 0.70)),
)
NOT_HEAD = (Label.BACKGROUND, Label.NECK, Label.NECKLACE, Label.CLOTH)
SEARCHED = 200
"""Seeds looked at for people who suit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamConfig:
    """Who sits the examination, and how they are filmed."""

    size: int = 256
    frames: int = 80  # of each person's video
    fps: float = 4.0  # frames spread over twenty seconds, as those of a video are
    shown: int = 6  # frames that are compared with the truth
    targets: int = 2
    sources: int = 2
    users: int = 0  # people beside them who get an attribute by transfer
    seed: int = 900

    def __post_init__(self) -> None:
        if min(self.targets, self.sources, self.shown) < 1 or self.frames < 10:
            message = "an examination needs a target, a source, a frame to show and ten frames to film"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="exam")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """The people, and where their results lie."""

    config: ExamConfig
    pipeline: PipelineConfig
    targets: tuple[Person, ...]
    sources: tuple[Person, ...]
    users: tuple[Person, ...] = ()

    @staticmethod
    def of(config: ExamConfig, pipeline: PipelineConfig) -> Exam:
        """Targets, sources and users with hair of their own, of different styles where there is a choice, without hats.

        Nobody with a fringe lends: it hides the brows.
        """
        found: list[Person] = []
        lenders = config.targets + config.sources
        for seed in range(config.seed, config.seed + SEARCHED):
            someone, others = person(seed, hat=None), {other.hair.style for other in found}
            style, lends = someone.hair.style, config.targets <= len(found) < lenders
            suits = style is not HairStyle.BALD and not (lends and style is HairStyle.FRINGE)
            if suits and (style not in others or len(others) > 3):
                found.append(someone)
            if len(found) == lenders + config.users:
                break
        return Exam(
            config=config,
            pipeline=pipeline,
            targets=tuple(found[: config.targets]),
            sources=tuple(found[config.targets : lenders]),
            users=tuple(found[lenders:]),
        )

    @property
    def film(self) -> StudioConfig:
        """How everybody is filmed."""
        return StudioConfig(frames=self.config.frames, fps=self.config.fps, size=self.config.size)

    def lender(self, source: Person, attribute: Attribute) -> Person:
        """The source as one who has the attribute to give: for a hat, with one on."""
        if attribute is not Attribute.HAT:
            return source
        return replace(source, name=f"{source.name}-hat", hat=HATS[self.sources.index(source) % len(HATS)])

    def plan(self, attributes: Sequence[Attribute]) -> WorkPlan:
        """Everybody's track and avatar."""
        lenders = [self.lender(source, attribute) for source in self.sources for attribute in attributes]
        jobs: list[Job] = []
        for someone in dict.fromkeys([*self.targets, *lenders, *self.users]):
            jobs += [self.track_job(someone), self.fit_job(someone)]
        return WorkPlan(stage=Stage.FIT, jobs=tuple(jobs))

    def plan_lenders(self, attributes: Sequence[Attribute]) -> WorkPlan:
        """Track and avatar of those who lend, alone."""
        lenders = [self.lender(source, attribute) for source in self.sources for attribute in attributes]
        jobs = [job for one in dict.fromkeys(lenders) for job in (self.track_job(one), self.fit_job(one))]
        return WorkPlan(stage=Stage.FIT, jobs=tuple(jobs))

    def plan_models(self, attributes: Sequence[Attribute], *, unswapped: bool = False) -> WorkPlan:
        """Beside tracks and avatars each target's swaps and generative avatar; also the model without synthesis."""
        jobs = list(self.plan(attributes).jobs)
        for target in self.targets:
            jobs += [*self.swap_jobs(target, attributes), self.model_job(target, attributes)]
            jobs += [self.unswapped_job(target, attributes)] if unswapped else []
        return WorkPlan(stage=Stage.PERSONALIZE, jobs=tuple(jobs))

    def track_job(self, someone: Person) -> StudioJob:
        """How somebody's track comes to be."""
        return StudioJob.plan(someone, self.film)

    def fit_job(self, someone: Person) -> FitJob:
        """How somebody's avatar comes to be."""
        return FitJob.plan(self.track_job(someone).key, self.pipeline.fit, subject=someone.name)

    def swap_jobs(self, target: Person, attributes: Sequence[Attribute]) -> list[SwapJob]:
        """How the target's swaps come to be: every attribute of every source."""
        track, own = self.track_job(target).key, self.fit_job(target).key
        lenders = [(attribute, self.lender(source, attribute)) for attribute in attributes for source in self.sources]
        return [
            SwapJob.plan(
                track,
                own,
                self.fit_job(lender).key,
                attribute,
                self.pipeline.swap,
                subject=f"{attribute} of {lender.name} on {target.name}",
            )
            for attribute, lender in lenders
        ]

    def model_job(self, target: Person, attributes: Sequence[Attribute]) -> PersonalizeJob:
        """How the target's generative avatar comes to be."""
        swaps = [job.key for job in self.swap_jobs(target, attributes)]
        track, own = self.track_job(target).key, self.fit_job(target).key
        return PersonalizeJob.plan(track, own, swaps, self.pipeline.personalize, subject=target.name)

    def unswapped_job(self, target: Person, attributes: Sequence[Attribute]) -> PersonalizeJob:
        """How the target's model comes to be that has seen the lenders' whole videos, and no swap."""
        lenders = dict.fromkeys(self.lender(source, attribute) for source in self.sources for attribute in attributes)
        people = [(self.track_job(lender).key, self.fit_job(lender).key) for lender in lenders]
        config = replace(self.pipeline.personalize, synthesis=False)
        track, own = self.track_job(target).key, self.fit_job(target).key
        return PersonalizeJob.plan(track, own, [], config, subject=f"{target.name}, no synthesis", people=people)

    def track(self, library: Library, someone: Person) -> Track:
        """Somebody's track; BAD_REFERENCE where it is not made."""
        return read_track(library.location, self.track_job(someone).key)

    def avatar(self, library: Library, someone: Person) -> Avatar:
        """Somebody's avatar; BAD_REFERENCE where it is not made."""
        return read_avatar(library, self.fit_job(someone).key)

    def seen(self, track: Track) -> tuple[int, ...]:
        """Frames to compare, of those that a fit may see."""
        return _spread(track.held_out()[0], self.config.shown)

    def unseen(self, track: Track) -> tuple[int, ...]:
        """Frames to compare, of those that no fit may see."""
        return _spread(track.held_out()[1], self.config.shown)

    def truth(self, target: Person, frames: Sequence[int], attribute: Attribute | None, other: Person) -> Track:
        """The target's frames as they would be with the other's attribute; without an attribute, as `other` in that motion."""
        shown = other if attribute is None else swap_parts(target, attribute, other)
        motion = perform(target, self.config.frames, self.config.fps)
        return render(shown, motion.select(frames), size=self.config.size)


def _spread(frames: npt.NDArray[np.int64], count: int) -> tuple[int, ...]:
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int))
    return tuple(int(frames[index]) for index in chosen)


def where_is(labels: npt.NDArray[np.uint8], attribute: Attribute) -> Region:
    """The pixels of an attribute in a part map."""
    return np.isin(labels, labels_of(attribute.part))


def head_box(labels: npt.NDArray[np.uint8]) -> Region:
    """The smallest upright box around a head, filled; empty where there is no head."""
    rows, columns = np.nonzero(~np.isin(labels, NOT_HEAD))
    box = np.zeros(labels.shape, bool)
    if len(rows):
        box[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    return box
