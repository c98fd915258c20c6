"""`evaluate people`: how near avatars of studio people are to frames that no fit has seen, and to views from the side.

The side views are stills of the person with a neutral face, the head turned by 30° to either side. No performance has them.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.evaluate.avatar import AvatarScore, score_frames
from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.results import read_avatar, read_fields, read_track
from pegasus_ray.jobs.studio import StudioConfig, StudioJob
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.manifests import Stage
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.studio.film.render import render_track
from pegasus_ray.studio.motion import pose_stills
from pegasus_ray.studio.person import Person
from pegasus_ray.studio.sampling import sample_person

SIDE_VIEW_YAWS_DEGREES: Final = (-30.0, 30.0)
"""How far the head is turned in the side views."""
FRAMES_SHOWN: Final = 4
"""How many unseen frames of each person the picture shows, at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleExam:
    """Who is filmed, and how their avatars are fitted."""

    people: int = 3
    seed: int = 900  # of the first; the others' follow. Those below 900 are for tuning
    film: StudioConfig
    fit: FitConfig

    @property
    def persons(self) -> tuple[Person, ...]:
        """The people of the seeds."""
        return tuple(sample_person(self.seed + number) for number in range(self.people))

    def plan(self) -> WorkPlan:
        """The track and the avatar of everybody."""
        jobs = [job for someone in self.persons for job in (self.track_job(someone), self.fit_job(someone))]
        return WorkPlan(stage=Stage.FIT, jobs=tuple(jobs))

    def track_job(self, someone: Person) -> StudioJob:
        """The job that makes somebody's track."""
        return StudioJob.plan(someone, self.film)

    def fit_job(self, someone: Person) -> FitJob:
        """The job that makes somebody's avatar."""
        track = self.track_job(someone)
        return FitJob.plan(track.key, self.fit, subject=someone.name, seen=track.seen)


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonScore:
    """Figures of one person's avatar."""

    unseen: AvatarScore  # on the last tenth of the performance
    aside: AvatarScore  # on the side views


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleReport:
    """Figures of all people, by name."""

    scores: Mapping[str, PersonScore]
    sheet: Bytes  # for each person a row of truths above a row of renders: unseen frames, then side views

    def facts(self) -> dict[str, Any]:
        """For `--json`: means over the people, and the figures of each of them."""
        rows = {name: asdict(score) for name, score in self.scores.items()}
        means = {
            where: {
                name: float(np.mean([row[where][name] for row in rows.values()]))
                for name in ("psnr", "ssim", "psnr_face")
            }
            for where in ("unseen", "aside")
        }
        return {**means, "people": rows}


def evaluate_people(exam: PeopleExam, library: Library, progress: Progress | None = None) -> PeopleReport:
    """Compare the avatars that `exam.plan` has made with the truth.

    Raises:
        PegasusError: BAD_REFERENCE where a track or an avatar is not made.
    """
    report = progress or (lambda *_: None)
    scores, rows = {}, []
    for number, someone in enumerate(exam.persons):
        report(number / exam.people, someone.name)
        track, key = read_track(library.location, exam.track_job(someone).key), exam.fit_job(someone).key
        avatar, fields = read_avatar(library, key), read_fields(library, key)
        points = fields.canonical(load_rig(track.rig)) if fields else None
        held = track.select(track.held_out()[1])
        unseen, unseen_sheet = score_frames(held, avatar, points=points, shown=FRAMES_SHOWN)
        aside, side_sheet = score_side_views(someone, exam.film.size, avatar, points)
        scores[someone.name] = PersonScore(unseen=unseen, aside=aside)
        rows.append(np.concatenate([unseen_sheet, side_sheet], axis=1))
    widest = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return PeopleReport(scores=scores, sheet=np.concatenate(padded))


def score_side_views(
    someone: Person, size: int, avatar: Avatar, points: CanonicalPoints | None
) -> tuple[AvatarScore, Bytes]:
    """Compare a person's avatar with stills of the person, the head turned aside; `points` as in `score_frames`."""
    yaws = SIDE_VIEW_YAWS_DEGREES
    motion = pose_stills([{}] * len(yaws), [(0.0, yaw, 0.0) for yaw in yaws])
    return score_frames(render_track(someone, motion, size=size), avatar, points=points, shown=len(yaws))
