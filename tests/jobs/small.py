"""A library of small studio people and the smallest jobs over it, for tests of the stages as jobs."""

from __future__ import annotations

from dataclasses import replace

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fit.config import FitConfig, Resolution
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.personalize import PersonalizeJob
from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.jobs.transfer import TransferJob
from pegasus_ray.library.library import Library
from pegasus_ray.library.tracks import save_track
from pegasus_ray.schemas.manifests import Kind, Provenance
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.judge import JudgeConfig
from pegasus_ray.stages.personalize import GenerativeConfig, PersonalizeConfig
from pegasus_ray.stages.swap import SwapConfig
from pegasus_ray.stages.transfer import TransferConfig
from pegasus_ray.studio.cast import demo_people
from pegasus_ray.studio.film.render import render_track
from pegasus_ray.studio.motion import perform

FIT = FitConfig(
    stages=(Resolution(scale=1.0, steps=12),),
    budget=PointBudget(surface=2400, hair=600, cloth=300),
    checkpoint_every=5,
)
SWAP = SwapConfig(frames=4, judge=JudgeConfig(parser="none", identity="none"))
GENERATIVE = GenerativeConfig(target_steps=3, swap_steps=6, checkpoint_every=4)
PERSONALIZE = PersonalizeConfig(fit=GENERATIVE, own_frames=6, least_quality=0.0)
FIELDS = FitConfig(
    stages=(Resolution(scale=0.75, steps=3), Resolution(scale=1.0, steps=6)),
    fields=FieldConfig(
        code=4, field_width=16, field_depth=3, field_skip=2, deformer_width=16, deformer_depth=2, shading_width=16,
        subject_stage=True, own_looks=True,
    ),
    batch=2,
    settle_steps=10,
    refine_tracking=False,
    checkpoint_every=4,
)  # fmt: skip


def stock(library: Library, people: int = 2) -> list[FitJob]:
    """Tracks of some of the demo's people, and the fits that they wait for."""
    cast = demo_people()
    jobs = []
    for number, person in enumerate(cast.everyone[:people]):
        key = f"{number:016x}"
        save_track(library, key, render_track(person, perform(person, 8), size=48, detail=0.2), Provenance())
        jobs.append(FitJob.plan(key, FIT, subject=person.name))
    return jobs


def swaps(fits: list[FitJob]) -> list[SwapJob]:
    """The first person with the second's hair and nose."""
    target, lender = fits[:2]
    return [
        SwapJob.plan(target.track, target.key, lender.key, attribute, SWAP, subject=f"{attribute}")
        for attribute in (Attribute.HAIR, Attribute.NOSE)
    ]


def model(fits: list[FitJob], made: list[SwapJob]) -> PersonalizeJob:
    """The first person's generative avatar."""
    target = fits[0]
    return PersonalizeJob.plan(target.track, target.key, [job.key for job in made], PERSONALIZE, subject=target.subject)


def field_model(fits: list[FitJob], made: list[SwapJob]) -> PersonalizeJob:
    """The same of fields."""
    target, config = fits[0], replace(PERSONALIZE, fields=FIELDS)
    return PersonalizeJob.plan(target.track, target.key, [job.key for job in made], config, subject=target.subject)


def transfers(fits: list[FitJob], trained: PersonalizeJob) -> list[TransferJob]:
    """Hair for the second person: the model's own, and the first person's."""
    user = fits[1].key
    plan = (trained.key, Kind.MODELS), (fits[0].key, Kind.AVATARS)
    return [
        TransferJob.plan(source, kind, user, [Attribute.HAIR], TransferConfig(), subject="hair")
        for source, kind in plan
    ]


def with_steps(job: FitJob, steps: int) -> FitJob:
    """The same fit, longer or shorter, under its own key."""
    config = replace(job.config, stages=(replace(job.config.stages[0], steps=steps),))
    return FitJob.plan(job.track, config, subject=job.subject)
