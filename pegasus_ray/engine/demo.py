"""The demo: all stages, from videos to recombined avatars, on five procedural people."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.run_plan import is_done, run_plan
from pegasus_ray.jobs.plan import WorkPlan, plan_avatars, plan_personalize, plan_swaps, plan_transfer
from pegasus_ray.jobs.sources import Source
from pegasus_ray.jobs.studio import NOBODY, StudioConfig, StudioJob, film_video
from pegasus_ray.jobs.work import Event, OnEvent, Outcome
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.perception.assets.files import available, fetch
from pegasus_ray.perception.nets.landmarks import FACE_MODEL
from pegasus_ray.perception.nets.matte import MATTE_MODEL
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig, preset
from pegasus_ray.stages.settings import override
from pegasus_ray.studio.cast import Cast, demo_people
from pegasus_ray.studio.person import Person
from pegasus_ray.viewer.draw_person import Shot, draw_person
from pegasus_ray.viewer.dressed_person import Outfit, dress_person
from pegasus_ray.viewer.report import write_report

TRACK_SIDE_PIXELS = 128
"""Side of the tracks' frames."""
FILM = StudioConfig(size=192)
"""How the video file is filmed: larger than the tracks, because perception cuts out the head."""
FILMED_SOURCE = 0
"""Number, among the people who lend, of the one who is tracked from a video file."""
TRANSFERRED = Attribute.HAIR
"""The attribute that the new user borrows, and that the target wears in the pictures."""
PICTURE_FRAMES = 6
"""Frames in the sheet of pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """The files that the demo has written, and the outcomes of its jobs."""

    library: Path
    report: Path
    picture: Path
    video: Path
    outcomes: tuple[Outcome, ...]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run of the demo. Ray starts with the first plan that is not done, and stops at the end of the run."""

    catalogue: Catalogue
    engine: EngineConfig
    config: PipelineConfig
    on_event: OnEvent
    ray: ExitStack
    outcomes: list[Outcome] = field(default_factory=list)

    def make(self, plan: WorkPlan) -> list[str]:
        """Run a plan and return the keys of its stage's results, without those that failed."""
        if self.engine.kind == "ray" and not is_done(plan, self.catalogue):
            from pegasus_ray.engine.cluster import connect  # imported here, because inline runs need no Ray

            self.ray.enter_context(connect(self.engine.address))
        outcomes = run_plan(plan, self.catalogue, self.engine, self.on_event)
        self.outcomes.extend(outcomes)
        return [outcome.key for outcome in outcomes if outcome.stage is plan.stage and outcome.status != "failed"]


def run_demo(folder: Path, engine: EngineConfig, on_event: OnEvent) -> DemoResult:
    """Run all stages on studio people. Results that are there already are not made again.

    Args:
        folder: takes the library, the pictures and the report.
        engine: Ray or inline.
        on_event: told about the progress and the end of each job.

    Raises:
        PegasusError: INTERNAL if a result failed without which there is nothing to show.
    """
    began = time.monotonic()
    catalogue, cast = Catalogue(Library(folder / "library")), demo_people()
    library = catalogue.library
    config = override(preset("draft"), {"track": {"observe": {"size": TRACK_SIDE_PIXELS}}})
    with ExitStack() as ray:
        run = _Run(catalogue=catalogue, engine=engine, config=config, on_event=on_event, ray=ray)
        avatars = _make_avatars(run, cast, folder / "videos")
        target, user = (_expect_avatar(avatars, person, run) for person in (cast.target, cast.user))
        lenders = [avatars[person.name] for person in cast.sources if person.name in avatars]
        if not lenders:
            raise _nothing_to_show("the avatar of anybody who lends", run)
        run.make(plan_swaps(catalogue, target, config, avatars=lenders))
        models = run.make(plan_personalize(catalogue, target, config, avatars=lenders))
        if not models:
            raise _nothing_to_show(f"the generative avatar of {cast.target.name}", run)
        codes = {TRANSFERRED: lenders[0]}
        run.make(plan_transfer(catalogue, models[0], [user], config, attributes=[TRANSFERRED], codes=codes))
    picture, video, report = (folder / name for name in ("borrowed.png", "borrowed.mp4", "report.html"))
    changed = any(outcome.status == "done" for outcome in run.outcomes)
    if changed or not all(path.exists() for path in (picture, video, report)):
        outfit = Outfit(wear={TRANSFERRED: lenders[0]})
        person = dress_person(catalogue, f"{Kind.MODELS}/{models[0]}", outfit, config.transfer)
        draw_person(library, person, Shot(driver=person.track, most=PICTURE_FRAMES), picture)
        draw_person(library, person, Shot(driver=person.track), video)
        write_report(catalogue, report)
    return DemoResult(
        library=folder / "library",
        report=report,
        picture=picture,
        video=video,
        outcomes=tuple(run.outcomes),
        seconds=time.monotonic() - began,
    )


def _make_avatars(run: _Run, cast: Cast, videos: Path) -> dict[str, str]:
    """Make everybody's avatar, one from a video file and the others from tracks with the truth; keys by name."""
    filmed = cast.sources[FILMED_SOURCE]
    studio = {p.name: StudioJob.plan(p, StudioConfig(size=TRACK_SIDE_PIXELS)) for p in cast.everyone if p is not filmed}
    with ThreadPoolExecutor(1) as thread:  # this process is idle while the workers render the others
        video = thread.submit(_film, filmed, videos / f"{filmed.name}.mp4", run.on_event)
        run.make(WorkPlan(stage=Stage.TRACK, jobs=tuple(studio.values())))
    _fetch_models()
    references = {name: job.key for name, job in studio.items()} | {filmed.name: str(video.result())}
    sources = [
        Source(reference=references[person.name], subject=person.name, consent=NOBODY) for person in cast.everyone
    ]
    plan = plan_avatars(sources, run.catalogue, run.config)
    made = set(run.make(plan))
    return {job.subject: job.key for job in plan.jobs if job.stage is Stage.FIT and job.key in made}


def _film(person: Person, path: Path, on_event: OnEvent) -> Path:
    """Film a person into a video file, unless it is there."""
    if path.exists():
        return path
    began = time.monotonic()
    event = Event(stage=Stage.TRACK, key=path.name, subject=f"filming {path.name}")
    film_video(person, FILM, path, lambda share, text: on_event(replace(event, share=share, text=text)))
    seconds = time.monotonic() - began
    ended = Outcome(stage=Stage.TRACK, key=path.name, subject=event.subject, status="done", seconds=seconds)
    on_event(replace(event, share=1.0, outcome=ended))
    return path


def _fetch_models() -> None:
    """Fetch the model files that perception needs. If that fails, the job that needs them fails and names them."""
    missing = [name for name in (FACE_MODEL, MATTE_MODEL) if not available(name)]
    try:
        fetch(missing)
    except PegasusError:
        return


def _expect_avatar(avatars: dict[str, str], person: Person, run: _Run) -> str:
    """The key of a person's avatar, without which the demo cannot go on."""
    if person.name not in avatars:
        raise _nothing_to_show(f"the avatar of {person.name}", run)
    return avatars[person.name]


def _nothing_to_show(what: str, run: _Run) -> PegasusError:
    """The error that ends the demo; it names the first failure, which is the cause of the others."""
    failures = [f"{outcome.subject}: {outcome.message}" for outcome in run.outcomes if outcome.status == "failed"]
    cause = failures[0] if failures else "a result that it needs failed"
    return PegasusError(Reason.INTERNAL, f"{what} could not be made ({cause})", subject="demo")
