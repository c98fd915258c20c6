"""Studio people for the examinations of recombining: who lends what to whom, and the true picture of the result.

The studio can film the same person in the same motion with another's hair, nose or mouth. That is the truth of a swap, which
no camera can record. The people are those of the seeds from `ExamConfig.seed` on, by which no setting was tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.personalize import PersonalizeJob
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.results import join_seen, read_avatar, read_track
from pegasus_ray.jobs.studio import StudioConfig, StudioJob
from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.jobs.work import Job
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.manifests import SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig
from pegasus_ray.studio.counterfactual import swap_attribute
from pegasus_ray.studio.film.render import render_track
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.person import HairStyle, Hat, HatStyle, Person
from pegasus_ray.studio.sampling import sample_person

HATS = (
    Hat(style=HatStyle.BEANIE, colour=(0.55, 0.16, 0.18), accent=(0.86, 0.82, 0.74)),
    Hat(style=HatStyle.CAP, colour=(0.16, 0.26, 0.44), accent=(0.80, 0.78, 0.70)),
)
"""Hats that the sources wear to lend a hat, in turn."""
MAX_SEEDS_SEARCHED = 200
"""Number of seeds, from the first on, among which suitable people are sought."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamConfig:
    """How many people are examined, what they lend, and how they are filmed."""

    attributes: tuple[Attribute, ...] = tuple(Attribute)  # borrowed one at a time
    size: int = 256  # side of the pictures, pixels
    frames: int = 80  # of each person's video
    fps: float = 4.0  # 80 frames then spread over twenty seconds, as those taken from a video do
    shown: int = 6  # frames that are compared with the truth
    targets: int = 2  # who borrow
    sources: int = 2  # who lend
    users: int = 0  # further people, who get an attribute by transfer
    seed: int = 900  # the first that is tried for a suitable person

    def __post_init__(self) -> None:
        if min(self.targets, self.sources, self.shown) < 1 or self.frames < 10:
            message = "an examination needs a target, a source, a frame to show and ten frames to film"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="exam")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """The people of an examination, the jobs that prepare it, and the results of these jobs."""

    config: ExamConfig
    pipeline: PipelineConfig
    targets: tuple[Person, ...]
    sources: tuple[Person, ...]
    users: tuple[Person, ...] = ()

    @staticmethod
    def of(config: ExamConfig, pipeline: PipelineConfig) -> Exam:
        """Choose targets, sources and users: with hair, without hats, of different hair styles where there is a choice.

        Nobody with a fringe is a source, because a fringe hides the brows.
        """
        found: list[Person] = []
        lenders = config.targets + config.sources
        for seed in range(config.seed, config.seed + MAX_SEEDS_SEARCHED):
            someone, others = sample_person(seed, hat=None), {other.hair.style for other in found}
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
    def attributes(self) -> tuple[Attribute, ...]:
        """What is borrowed, one at a time."""
        return self.config.attributes

    @property
    def film(self) -> StudioConfig:
        """How everybody is filmed."""
        return StudioConfig(frames=self.config.frames, fps=self.config.fps, size=self.config.size)

    def facts(self) -> dict[str, Any]:
        """For `--json`: who took part, and how many frames of which size were compared."""
        return {
            "targets": [someone.name for someone in self.targets],
            "sources": [someone.name for someone in self.sources],
            "size": self.config.size,
            "frames": self.config.shown,
        }

    def lender(self, source: Person, attribute: Attribute) -> Person:
        """The source as somebody who has the attribute to lend: for a hat, with one on."""
        if attribute is not Attribute.HAT:
            return source
        return replace(source, name=f"{source.name}-hat", hat=HATS[self.sources.index(source) % len(HATS)])

    @property
    def lenders(self) -> tuple[Person, ...]:
        """Everybody who lends something, each once: sources, and sources with a hat on."""
        everybody = (self.lender(source, attribute) for source in self.sources for attribute in self.attributes)
        return tuple(dict.fromkeys(everybody))

    def plan(self) -> WorkPlan:
        """The track and the avatar of everybody."""
        return self._plan_avatars(tuple(dict.fromkeys([*self.targets, *self.lenders, *self.users])))

    def plan_lenders(self) -> WorkPlan:
        """The tracks and the avatars of the lenders alone."""
        return self._plan_avatars(self.lenders)

    def _plan_avatars(self, people: Sequence[Person]) -> WorkPlan:
        jobs = [job for someone in people for job in (self.track_job(someone), self.fit_job(someone))]
        return WorkPlan(stage=Stage.FIT, jobs=tuple(jobs))

    def plan_models(self, *, unswapped: bool = False) -> WorkPlan:
        """The jobs of `plan`, each target's swaps and generative avatar, and with `unswapped` the model without swaps."""
        jobs: list[Job] = list(self.plan().jobs)
        for target in self.targets:
            jobs += [*self.swap_jobs(target), self.model_job(target)]
            jobs += [self.unswapped_job(target)] if unswapped else []
        return WorkPlan(stage=Stage.PERSONALIZE, jobs=tuple(jobs))

    def track_job(self, someone: Person) -> StudioJob:
        """The job that makes somebody's track."""
        return StudioJob.plan(someone, self.film)

    def fit_job(self, someone: Person) -> FitJob:
        """The job that makes somebody's avatar."""
        track = self.track_job(someone)
        return FitJob.plan(track.key, self.pipeline.fit, subject=someone.name, seen=track.seen)

    def swap_jobs(self, target: Person) -> list[SwapJob]:
        """The jobs that make the target's swaps: every attribute of every source."""
        track, own = self.track_job(target).key, self.fit_job(target).key
        lenders = [
            (attribute, self.lender(source, attribute)) for attribute in self.attributes for source in self.sources
        ]
        return [
            SwapJob.plan(
                track,
                own,
                self.fit_job(lender).key,
                attribute,
                self.pipeline.swap,
                subject=f"{attribute} of {lender.name} on {target.name}",
                seen=self._seen(target, lender),
            )
            for attribute, lender in lenders
        ]

    def model_job(self, target: Person) -> PersonalizeJob:
        """The job that makes the target's generative avatar."""
        swaps = [job.key for job in self.swap_jobs(target)]
        track, own = self.track_job(target).key, self.fit_job(target).key
        seen = self._seen(target, *self.lenders)
        return PersonalizeJob.plan(track, own, swaps, self.pipeline.personalize, subject=target.name, seen=seen)

    def unswapped_job(self, target: Person) -> PersonalizeJob:
        """The job that makes the target's model from the lenders' whole videos, without any swap."""
        people = [(self.track_job(lender).key, self.fit_job(lender).key) for lender in self.lenders]
        config = replace(self.pipeline.personalize, synthesis=False)
        track, own = self.track_job(target).key, self.fit_job(target).key
        return PersonalizeJob.plan(
            track,
            own,
            [],
            config,
            subject=f"{target.name}, no synthesis",
            people=people,
            seen=self._seen(target, *self.lenders),
        )

    def _seen(self, *people: Person) -> tuple[SeenPerson, ...]:
        """Some people as they can be seen in a result."""
        return join_seen(*(self.track_job(someone).seen for someone in people))

    def track(self, library: Library, someone: Person) -> Track:
        """Somebody's track; BAD_REFERENCE where it is not made."""
        return read_track(library.location, self.track_job(someone).key)

    def avatar(self, library: Library, someone: Person) -> Avatar:
        """Somebody's avatar; BAD_REFERENCE where it is not made."""
        return read_avatar(library, self.fit_job(someone).key)

    def seen_frames(self, track: Track) -> tuple[int, ...]:
        """The frames to compare, of those that a fit sees."""
        return self._shown(track.held_out()[0])

    def unseen_frames(self, track: Track) -> tuple[int, ...]:
        """The frames to compare, of those that no fit sees."""
        return self._shown(track.held_out()[1])

    def _shown(self, frames: npt.NDArray[np.int64]) -> tuple[int, ...]:
        """As many of these frames as are compared, evenly spaced."""
        return tuple(int(frames[index]) for index in evenly(len(frames), self.config.shown))

    def truth(self, target: Person, frames: Sequence[int], attribute: Attribute | None, other: Person) -> Track:
        """Film the target in these frames with the other's attribute; without an attribute, the other in the target's motion."""
        shown = other if attribute is None else swap_attribute(target, attribute, other)
        motion = perform(target, self.config.frames, self.config.fps)
        return render_track(shown, motion.select(frames), size=self.config.size)
