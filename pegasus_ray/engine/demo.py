"""The demo: five people who do not exist go the whole way, from videos to recombined avatars."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pegasus_ray.engine.cluster import connect
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.inline import Executor
from pegasus_ray.engine.ray_executor import executor
from pegasus_ray.library.library import Library
from pegasus_ray.perception.assets import available, fetch
from pegasus_ray.perception.landmarks import FACE_MODEL
from pegasus_ray.perception.matte import MATTE_MODEL
from pegasus_ray.pipeline.config import PipelineConfig, preset
from pegasus_ray.pipeline.look import assemble, draw_look
from pegasus_ray.pipeline.plan import (
    Source,
    WorkPlan,
    plan_avatars,
    plan_personalize,
    plan_swaps,
    plan_transfer,
)
from pegasus_ray.pipeline.settings import override
from pegasus_ray.pipeline.studio_job import StudioConfig, StudioJob, film_video
from pegasus_ray.pipeline.work import Event, OnEvent, Outcome
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.manifests import Kind, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.studio.cast import Cast, demo_people
from pegasus_ray.studio.people import Person
from pegasus_ray.viewer.report import write_report

SIZE = 128
FILM = StudioConfig(size=192)
"""The one who comes as a video file is filmed larger: perception cuts the head out."""
FILMED = 0
"""Which of the people who lend is tracked from a video file."""
BORROWED = Attribute.HAIR


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the demo has to show."""

    library: Path
    report: Path
    picture: Path
    video: Path
    outcomes: tuple[Outcome, ...]
    seconds: float


def run_demo(folder: Path, engine: EngineConfig, on_event: OnEvent) -> Shown:
    """Run all stages on studio people; what is there already is not made again.

    Args:
        folder: the library and the pictures go here.
        engine: Ray or inline.
        on_event: told what is going on.

    Raises:
        PegasusError: where so much failed that there is nothing to show.
    """
    began = time.monotonic()
    library, cast, config = Library(folder / "library"), demo_people(), _config()
    outcomes: list[Outcome] = []
    with _connected(engine):
        work = executor(library, engine)
        avatars = _people(library, cast, config, work, folder / "videos", on_event, outcomes)
        target, user = avatars[cast.target.name], avatars[cast.user.name]
        lenders = [avatars[person.name] for person in cast.sources if person.name in avatars]
        _run(plan_swaps(library, target, config, avatars=lenders), work, on_event, outcomes)
        (model,) = _run(plan_personalize(library, target, config, avatars=lenders), work, on_event, outcomes)
        lent = plan_transfer(library, model, user, config, attributes=[BORROWED], codes={BORROWED: lenders[FILMED]})
        _run(lent, work, on_event, outcomes)
    picture, video = folder / "borrowed.png", folder / "borrowed.mp4"
    look = assemble(library, f"{Kind.MODELS}/{model}", config.transfer, wear={BORROWED: lenders[FILMED]})
    for path, most in ((picture, 6), (video, None)):
        if not path.exists():
            draw_look(library, look, look.track, path, most=most)
    report = write_report(library, folder / "report.html")
    return Shown(
        library=folder / "library",
        report=report,
        picture=picture,
        video=video,
        outcomes=tuple(outcomes),
        seconds=time.monotonic() - began,
    )


def _config() -> PipelineConfig:
    return override(preset("draft"), {"track": {"observe": {"size": SIZE}}})


def _people(
    library: Library,
    cast: Cast,
    config: PipelineConfig,
    work: Executor,
    videos: Path,
    on_event: OnEvent,
    outcomes: list[Outcome],
) -> dict[str, str]:
    """Everybody's avatar: keys by name. One comes as a video file, the others as tracks with the truth."""
    filmed = cast.sources[FILMED]
    studio = {p.name: StudioJob.plan(p, StudioConfig(size=SIZE)) for p in cast.everyone if p is not filmed}
    with ThreadPoolExecutor(1) as aside:  # this process is idle while the workers render the others
        video = aside.submit(_film, filmed, videos / f"{filmed.name}.mp4", on_event)
        outcomes += work.run(tuple(studio.values()), on_event)
    _fetch_models()
    references = {name: job.key for name, job in studio.items()} | {filmed.name: str(video.result())}
    sources = [Source(reference=references[person.name], subject=person.name) for person in cast.everyone]
    plan = plan_avatars(sources, library, config)
    _run(plan, work, on_event, outcomes)
    keys = [job.key for job in plan.jobs if job.stage is Stage.FIT]
    return {source.subject: key for source, key in zip(sources, keys, strict=True) if library.exists(Kind.AVATARS, key)}


def _film(person: Person, path: Path, on_event: OnEvent) -> Path:
    if path.exists():
        return path
    news = Event(stage=Stage.TRACK, key=path.name, subject=f"filming {path.name}")
    began = time.monotonic()
    film_video(person, FILM, path, lambda share, text: on_event(replace(news, share=share, text=text)))
    ended = Outcome(
        stage=Stage.TRACK, key=path.name, subject=news.subject, status="done", seconds=time.monotonic() - began
    )
    on_event(replace(news, share=1.0, outcome=ended))
    return path


def _fetch_models() -> None:
    """What looking at a video needs. Where it cannot be had, that person's job says so."""
    missing = [name for name in (FACE_MODEL, MATTE_MODEL) if not available(name)]
    try:
        fetch(missing)
    except PegasusError:
        return


def _run(plan: WorkPlan, work: Executor, on_event: OnEvent, outcomes: list[Outcome]) -> list[str]:
    """Carry a plan out; keys of the results that stand."""
    made = [*plan.failed, *work.run(plan.jobs, on_event)]
    outcomes += made
    return [outcome.key for outcome in made if outcome.stage is plan.stage and outcome.status != "failed"]


@contextmanager
def _connected(engine: EngineConfig) -> Iterator[None]:
    """One Ray for all stages."""
    if engine.kind == "inline":
        yield
        return
    with connect(engine.address):
        yield
