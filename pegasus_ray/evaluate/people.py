"""evaluate people: what avatars of studio people are worth on frames that no fit saw, and in views from the side.

The views are stills of the person with a silent face, the head turned by 30° to either side; no performance holds them.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.evaluate.avatar import AvatarScore, score_frames
from pegasus_ray.jobs.all import FitJob
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.results import read_avatar, read_fields, read_track
from pegasus_ray.jobs.studio import StudioConfig, StudioJob
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.manifests import Stage
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.studio.film.render import render
from pegasus_ray.studio.motion import still
from pegasus_ray.studio.people import Person, person

ASIDE: Final = (-30.0, 30.0)
"""Degrees of yaw of the views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleExam:
    """Who is filmed, and how their avatars are fitted."""

    people: int = 3
    seed: int = 900  # of the first; the others' follow. Those below 900 are for tuning
    film: StudioConfig
    fit: FitConfig

    @property
    def persons(self) -> tuple[Person, ...]:
        """Who they are."""
        return tuple(person(self.seed + number) for number in range(self.people))

    def plan(self) -> WorkPlan:
        """Everybody's track and avatar."""
        jobs = [job for one in self.persons for job in (self.track_job(one), self.fit_job(one))]
        return WorkPlan(stage=Stage.FIT, jobs=tuple(jobs))

    def track_job(self, one: Person) -> StudioJob:
        """How a track comes to be."""
        return StudioJob.plan(one, self.film)

    def fit_job(self, one: Person) -> FitJob:
        """How an avatar comes to be."""
        return FitJob.plan(self.track_job(one).key, self.fit, subject=one.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonScore:
    """One person."""

    unseen: AvatarScore  # the last tenth of the performance
    aside: AvatarScore  # the views


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleReport:
    """Everybody."""

    scores: Mapping[str, PersonScore]
    sheet: Bytes  # a row of truths over a row of renders for each person: unseen frames, then views

    def facts(self) -> dict[str, Any]:
        """Means over the people, and each of them, for an answer."""
        rows = {name: {"unseen": asdict(one.unseen), "aside": asdict(one.aside)} for name, one in self.scores.items()}
        means = {
            where: {
                name: float(np.mean([row[where][name] for row in rows.values()]))
                for name in ("psnr", "ssim", "psnr_face")
            }
            for where in ("unseen", "aside")
        }
        return {**means, "people": rows}


def evaluate_people(exam: PeopleExam, library: Library, progress: Progress | None = None) -> PeopleReport:
    """Compare with the truth what the plan of `exam` has made.

    Raises:
        PegasusError: BAD_REFERENCE where a track or an avatar is not made.
    """
    report = progress or (lambda *_: None)
    scores, rows = {}, []
    for number, one in enumerate(exam.persons):
        report(number / exam.people, one.name)
        track, key = read_track(library.location, exam.track_job(one).key), exam.fit_job(one).key
        avatar, fields = read_avatar(library, key), read_fields(library, key)
        points = fields.canonical(load_rig(track.rig)) if fields else None
        unseen, first = score_frames(track.select(track.held_out()[1]), avatar, points=points, shown=4)
        views, second = score_views(one, exam.film.size, avatar, points)
        scores[one.name] = PersonScore(unseen=unseen, aside=views)
        rows.append(np.concatenate([first, second], axis=1))
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return PeopleReport(scores=scores, sheet=np.concatenate(padded))


def score_views(
    one: Person, size: int, avatar: Avatar, points: CanonicalPoints | None, degrees: Sequence[float] = ASIDE
) -> tuple[AvatarScore, Bytes]:
    """The avatar of a person in stills with the head turned aside; what is drawn as `score_frames` takes it."""
    motion = still([{}] * len(degrees), [(0.0, yaw, 0.0) for yaw in degrees])
    return score_frames(render(one, motion, size=size), avatar, points=points, shown=len(degrees))
