"""A tiny run of all stages, and the digests of the payloads that it makes: `python -m tests.results.canonical FOLDER`.

Two checkouts that print the same on one machine make the same results, as far as so small a run can show. Tracking runs on a
studio person's video where the model files are on this machine; where they are not, its digests are left out.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.engine.inline import InlineExecutor
from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.studio import StudioConfig, film_video
from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.jobs.track import TrackJob
from pegasus_ray.jobs.transfer import TransferJob
from pegasus_ray.jobs.work import Job
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.tracks import save_track
from pegasus_ray.library.videos.addresses import local_video
from pegasus_ray.perception.assets.files import available
from pegasus_ray.perception.nets.landmarks import FACE_MODEL
from pegasus_ray.perception.nets.matte import MATTE_MODEL
from pegasus_ray.perception.observe import ObserveConfig
from pegasus_ray.schemas.manifests import Kind, Provenance, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.judge import JudgeConfig
from pegasus_ray.stages.track import TrackConfig
from pegasus_ray.stages.transfer import TransferConfig
from pegasus_ray.studio.cast import demo_people
from pegasus_ray.studio.film.render import render_track
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.sampling import sample_person
from tests.jobs import small

VIDEO_FRAMES = 16
FIT = replace(small.FIT, budget=PointBudget(surface=9000, hair=1200, cloth=600))
"""With so many points an avatar shows every part that its track does, and can lend it."""
SWAP = replace(small.SWAP, judge=JudgeConfig())
"""Judged by the networks that this machine has."""


def payloads(folder: Path) -> dict[str, dict[str, str]]:
    """By stage, the sha256 of each payload file, named by the order of its job: keys change with versions, payloads need not."""
    library = Library(folder / "library")
    fits = _fits(library)
    target, lender, hatted = fits
    borrowed = [(lender, a) for a in Attribute if a is not Attribute.HAT] + [(hatted, Attribute.HAT)]
    swaps = [_swap(target, source, attribute) for source, attribute in borrowed]
    model = small.model(fits, swaps)
    transfers = [_transfer(model.key, Kind.MODELS, hatted.key), _transfer(lender.key, Kind.AVATARS, target.key)]
    jobs: list[Job] = [*fits, *swaps, model, small.field_model(fits, swaps[:1]), *transfers]
    if available(FACE_MODEL) and available(MATTE_MODEL):
        film = StudioConfig(size=160, frames=VIDEO_FRAMES)
        video = film_video(demo_people().sources[0], film, folder / "person.mp4")
        jobs.append(TrackJob.plan(local_video(video), TrackConfig(observe=ObserveConfig(size=96))))
    outcomes = InlineExecutor(Catalogue(library)).run(jobs, lambda event: None)
    failed = [f"{outcome.subject}: {outcome.message}" for outcome in outcomes if outcome.status == "failed"]
    if failed:
        raise SystemExit("\n".join(failed))
    found: dict[str, dict[str, str]] = {stage.value: {} for stage in Stage}
    for number, job in enumerate(jobs):
        for place, file in enumerate(library.expect(job.stage.kind, job.key).files):
            found[job.stage.value][f"{number}/{place}"] = file.sha256
    return found


def _fits(library: Library) -> list[FitJob]:
    """Two of the demo's people and one who wears a hat, on tracks that hold the studio's truth."""
    hatted = next(person for seed in range(100) if (person := sample_person(seed)).hat is not None)
    jobs = []
    for number, person in enumerate([*demo_people().everyone[:2], hatted]):
        key = f"{number:016x}"
        save_track(library, key, render_track(person, perform(person, 8), size=128, detail=0.3), Provenance())
        jobs.append(FitJob.plan(key, FIT, subject=person.name))
    return jobs


def _swap(target: FitJob, lender: FitJob, attribute: Attribute) -> SwapJob:
    return SwapJob.plan(target.track, target.key, lender.key, attribute, SWAP, subject=attribute.value)


def _transfer(source: str, kind: Kind, user: str) -> TransferJob:
    attributes = [attribute for attribute in Attribute if attribute is not Attribute.HAT]
    return TransferJob.plan(source, kind, user, attributes, TransferConfig(), subject="all but a hat")


if __name__ == "__main__":
    print(json.dumps(payloads(Path(sys.argv[1]))))
