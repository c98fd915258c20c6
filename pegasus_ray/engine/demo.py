"""The demo: five people who do not exist go the whole way, from videos to recombined avatars."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from pegasus_ray.engine.carry import carry_out, is_done
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.jobs.plan import Source, WorkPlan, plan_avatars, plan_personalize, plan_swaps, plan_transfer
from pegasus_ray.jobs.studio import StudioConfig, StudioJob, film_video
from pegasus_ray.jobs.work import Event, OnEvent, Outcome
from pegasus_ray.library.library import Library
from pegasus_ray.perception.assets.files import available, fetch
from pegasus_ray.perception.nets.landmarks import FACE_MODEL
from pegasus_ray.perception.nets.matte import MATTE_MODEL
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig, preset
from pegasus_ray.stages.settings import override
from pegasus_ray.studio.cast import Cast, demo_people
from pegasus_ray.studio.people import Person
from pegasus_ray.viewer.dressed_person import assemble, draw_look
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """One run of the demo. Ray is started with the first plan that has something to do, and stays."""

    library: Library
    engine: EngineConfig
    config: PipelineConfig
    on_event: OnEvent
    ray: ExitStack
    outcomes: list[Outcome] = field(default_factory=list)

    def carry_out(self, plan: WorkPlan) -> list[str]:
        """Keys of the results that stand."""
        if self.engine.kind == "ray" and not is_done(plan, self.library):
            from pegasus_ray.engine.cluster import connect  # inline, nobody waits for Ray's import

            self.ray.enter_context(connect(self.engine.address))
        made = carry_out(plan, self.library, self.engine, self.on_event)
        self.outcomes.extend(made)
        return [outcome.key for outcome in made if outcome.stage is plan.stage and outcome.status != "failed"]


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
    library, cast = Library(folder / "library"), demo_people()
    config = override(preset("draft"), {"track": {"observe": {"size": SIZE}}})
    with ExitStack() as ray:
        work = _Work(library=library, engine=engine, config=config, on_event=on_event, ray=ray)
        avatars = _make_avatars(work, cast, folder / "videos")
        target, user = (_expect(avatars, person, work) for person in (cast.target, cast.user))
        lenders = [avatars[person.name] for person in cast.sources if person.name in avatars]
        work.carry_out(plan_swaps(library, target, config, avatars=lenders))
        models = work.carry_out(plan_personalize(library, target, config, avatars=lenders))
        if not models:
            raise _nothing_to_show(f"the generative avatar of {cast.target.name}", work)
        codes = {BORROWED: lenders[0]}
        work.carry_out(plan_transfer(library, models[0], [user], config, attributes=[BORROWED], codes=codes))
    picture, video, report = (folder / name for name in ("borrowed.png", "borrowed.mp4", "report.html"))
    changed = any(outcome.status == "done" for outcome in work.outcomes)
    if changed or not all(path.exists() for path in (picture, video, report)):
        look = assemble(library, f"{Kind.MODELS}/{models[0]}", config.transfer, wear={BORROWED: lenders[0]})
        draw_look(library, look, look.track, picture, most=6)
        draw_look(library, look, look.track, video)
        write_report(library, report)
    return Shown(
        library=folder / "library",
        report=report,
        picture=picture,
        video=video,
        outcomes=tuple(work.outcomes),
        seconds=time.monotonic() - began,
    )


def _make_avatars(work: _Work, cast: Cast, videos: Path) -> dict[str, str]:
    """Everybody's avatar: keys by name. One comes as a video file, the others as tracks with the truth."""
    filmed = cast.sources[FILMED]
    studio = {p.name: StudioJob.plan(p, StudioConfig(size=SIZE)) for p in cast.everyone if p is not filmed}
    with ThreadPoolExecutor(1) as aside:  # this process is idle while the workers render the others
        video = aside.submit(_film, filmed, videos / f"{filmed.name}.mp4", work.on_event)
        work.carry_out(WorkPlan(stage=Stage.TRACK, jobs=tuple(studio.values())))
    _fetch_models()
    references = {name: job.key for name, job in studio.items()} | {filmed.name: str(video.result())}
    sources = [Source(reference=references[person.name], subject=person.name) for person in cast.everyone]
    plan = plan_avatars(sources, work.library, work.config)
    made = set(work.carry_out(plan))
    return {job.subject: job.key for job in plan.jobs if job.stage is Stage.FIT and job.key in made}


def _film(person: Person, path: Path, on_event: OnEvent) -> Path:
    if path.exists():
        return path
    began = time.monotonic()
    news = Event(stage=Stage.TRACK, key=path.name, subject=f"filming {path.name}")
    film_video(person, FILM, path, lambda share, text: on_event(replace(news, share=share, text=text)))
    seconds = time.monotonic() - began
    ended = Outcome(stage=Stage.TRACK, key=path.name, subject=news.subject, status="done", seconds=seconds)
    on_event(replace(news, share=1.0, outcome=ended))
    return path


def _fetch_models() -> None:
    """What looking at a video needs. Where it cannot be had, that person's job says so."""
    missing = [name for name in (FACE_MODEL, MATTE_MODEL) if not available(name)]
    try:
        fetch(missing)
    except PegasusError:
        return


def _expect(avatars: dict[str, str], person: Person, work: _Work) -> str:
    if person.name not in avatars:
        raise _nothing_to_show(f"the avatar of {person.name}", work)
    return avatars[person.name]


def _nothing_to_show(what: str, work: _Work) -> PegasusError:
    """The first failure is the cause of the others."""
    reasons = [f"{outcome.subject}: {outcome.message}" for outcome in work.outcomes if outcome.status == "failed"]
    cause = reasons[0] if reasons else "a need of it failed"
    return PegasusError(Reason.INTERNAL, f"{what} could not be made ({cause})", subject="demo")
