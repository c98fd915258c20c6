"""A plan file, which says from whom to whom in one place, and the recipe that makes one graph of jobs of it.

    preset = "fast"                  # settings to start from; left out: the command's
    attributes = ["hair", "nose"]    # what is borrowed; left out: everything that the sources are there to give

    [sources]                        # who lends
    paths = ["clips/*.mp4"]          # files, folders, patterns, addresses
    videos = "videos.csv"            # and, or instead, a table: path, attributes, subject, consent
    names = ["carl"]                 # and, or instead, tracks that the library holds, by name or key
    consent = "theirs, for this"     # for what the table leaves empty

    [targets]                        # who gets a generative avatar; the same keys as above
    names = ["anna", "bert"]         # here also people of the sources; "all": every source is a target too

    [users]                          # who is dressed at the end; the same keys as above
    paths = ["new/*.mp4"]
    models = ["anna"]                # the targets whose generative avatars give; left out or "all": each of them

    [users.wear]                     # attribute = whose
    hair = "bert"                    # a source, as the model has learned it; "own" or the target's name: as the target was filmed
    nose = "any"                     # of the first source from whom the model has learned one

    [settings]                       # as --config: changes of the preset, also of the engine
    fit.seed = 3

Only `sources` must be there: without targets, avatars are made, and without users, generative avatars. Paths are relative to the
file. A name stands for everybody of that name. A key that is not listed here is an error.

What a command cannot know when it begins, because it depends on what earlier jobs find (which attributes an avatar shows, who
could not be tracked), the recipe plans as soon as it is known, and looks only at those whom the outcome touches: hundreds of
sources for hundreds of targets are tens of thousands of swaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.plan import WorkPlan, plan_avatars, plan_model, plan_transfer, swaps_of_pair
from pegasus_ray.jobs.sources import Source, read_sources
from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.jobs.work import Job, Outcome
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.recordings import together
from pegasus_ray.library.videos.addresses import shown
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, ResultEntry, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig
from pegasus_ray.stages.judge import judge_models
from pegasus_ray.stages.settings import override, read_changes

ALL: Final = "all"  # in the place of names: every source; in the place of models: every target's
OWN: Final = "own"  # in the place of whose attribute is worn: the target's own
ANY: Final = "any"  # in the place of whose attribute is worn: the first source's from whom the model has learned it

_Group = TypeVar("_Group", bound="People")


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    """Some people, and where their videos or tracks are; see the file's form above."""

    paths: str | tuple[str, ...] = ()
    videos: str = ""  # a table
    names: str | tuple[str, ...] = ()
    consent: str = ""

    def __bool__(self) -> bool:
        return bool(self.paths or self.videos or self.names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wear:
    """Whose attributes a user is to wear, put on in this order; empty: the user's own stays."""

    hair: str = ""
    hat: str = ""
    eyes: str = ""
    eyebrows: str = ""
    nose: str = ""
    mouth: str = ""

    def chosen(self) -> dict[Attribute, str]:
        """The attributes that are worn, and whose."""
        given = {Attribute(item.name): str(getattr(self, item.name)) for item in fields(self)}
        return {attribute: whose for attribute, whose in given.items() if whose}


@dataclass(frozen=True, slots=True, kw_only=True)
class Users(People):
    """The people who are dressed at the end, and in what."""

    models: str | tuple[str, ...] = ALL
    wear: Wear = field(default_factory=Wear)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFile:
    """What a plan file says. `settings` are changes as of `stages.settings`, not yet checked."""

    preset: str = ""
    attributes: tuple[Attribute, ...] = ()
    sources: People = field(default_factory=People)
    targets: People = field(default_factory=People)
    users: Users = field(default_factory=Users)
    settings: Mapping[str, Any] = field(default_factory=dict)


def read_plan_file(path: Path) -> PlanFile:
    """Read a plan file.

    Raises:
        PegasusError: NOT_FOUND; BAD_CONFIG where it cannot be parsed, with the line, and for what has no place in it, with the
            table and the key.
    """
    said = read_changes(path)
    settings = said.pop("settings", {})
    try:
        if not isinstance(settings, Mapping):
            raise PegasusError(Reason.BAD_CONFIG, "is a table of settings, as fit.seed = 3", subject="settings")
        file = replace(override(PlanFile(), said), settings=settings)
        _check(file)
    except PegasusError as error:
        raise PegasusError(error.reason, error.message, subject=f"{path}, {error.subject}") from error
    file = replace(file, sources=_placed(file.sources, path.parent), targets=_placed(file.targets, path.parent))
    return replace(file, users=_placed(file.users, path.parent))


class Recipe:
    """Plans what a plan file asks for: first everybody's avatar, then what has become possible with each outcome.

    One recipe serves one run. `remarks` and `failed` fill while it goes on: what is made with less than was asked for, and what
    could not be planned at all.

    Args:
        file: who lends, who gets a generative avatar, who is dressed.
        config: of all stages.
        keep_stale: take what an earlier version of a stage made of the same work.
    """

    def __init__(self, file: PlanFile, config: PipelineConfig, *, keep_stale: bool = False) -> None:
        self.remarks: list[str] = []
        self.failed: list[Outcome] = []
        self._file, self._config, self._keep_stale = file, config, keep_stale
        self._judges = judge_models(config.swap.judge)
        self._plan = WorkPlan(stage=Stage.FIT)  # of the avatars
        self._people: dict[str, _Person] = {}  # by the key of the avatar as it is planned
        self._lenders: dict[
            _Person, None
        ] = {}  # as sets, in the file's order; so are the targets, the users and the givers
        self._by_track: dict[str, list[_Person]] = {}
        self._lost: set[str] = set()  # names of those whose videos cannot even be planned
        self._missing = 0  # of those, how many would have lent
        self._target_of: dict[str, _Person] = {}  # by the keys of swaps and generative avatars
        self._followed: dict[str, tuple[Job, ...]] = {}  # what followed from an outcome, by its key

    def first(self, catalogue: Catalogue) -> WorkPlan:
        """The tracks and avatars of sources, targets and users.

        What the file says about recordings holds for the catalogue from now on; it is written when the plan is run.

        Raises:
            PegasusError: BAD_REFERENCE for a name of nobody; errors of `read_sources`.
        """
        self._catalogue, file = catalogue, self._file
        self._lenders = dict.fromkeys(self._meet("sources", file.sources))
        self._missing = len(self._plan.failed)
        self._targets = dict.fromkeys(self._meet("targets", file.targets))
        self._users = dict.fromkeys(self._meet("users", file.users))
        models = set(_listed(file.users.models))
        self._givers = dict.fromkeys(target for target in self._targets if models & {ALL, *target.names})
        self._waiting = len(self._lenders)  # lenders whose avatars have not ended
        self._expect_names()
        said, known = self._plan.recordings, catalogue.recordings
        known.update(together([*(known[new.recording] for new in said if new.recording in known), *said]))
        stage = Stage.TRANSFER if self._users else Stage.PERSONALIZE if self._targets else Stage.FIT
        return replace(self._plan, stage=stage, remarks=self._estimate())

    def more(self, outcome: Outcome) -> Sequence[Job]:
        """The jobs that have become possible with an outcome; asked about it again, it gives the same."""
        if outcome.key not in self._followed:
            self._followed[outcome.key] = tuple(self._follow(outcome))
        return self._followed[outcome.key]

    def _follow(self, outcome: Outcome) -> Iterable[Job]:
        key = (outcome.entry.instead_of if outcome.entry else "") or outcome.key  # as it was planned
        if outcome.stage is Stage.TRACK and self._catalogue.get(Kind.TRACKS, key) is None:
            return [job for person in self._by_track.get(key, ()) for job in self._avatar_ended(person)]
        if outcome.stage is Stage.FIT and key in self._people:
            return self._avatar_ended(self._people[key])
        if outcome.stage is Stage.SWAP and key in self._target_of:
            self._target_of[key].open_swaps.discard(key)
            return self._model(self._target_of[key])
        if outcome.stage is Stage.PERSONALIZE and key in self._target_of:
            return self._dress(self._target_of[key], self._users)
        return ()

    def _avatar_ended(self, person: _Person) -> list[Job]:
        """What follows when somebody's avatar is made, or will not be made in this run."""
        if person.ended:
            return []
        person.ended, key = True, person.fit.key
        person.avatar = self._catalogue.get(Kind.AVATARS, key) or self._catalogue.instead_of(Kind.AVATARS, key)
        jobs: list[Job] = []
        if person in self._targets:
            for lender in self._lenders:
                jobs += self._swaps(person, lender)
        if person in self._lenders:
            self._waiting -= 1
            for target in self._targets:
                jobs += self._swaps(target, person)
        for target in self._targets if person in self._lenders else [person]:
            jobs += self._model(target)
        for target in self._givers if person in self._users else ():
            jobs += self._dress(target, [person])
        return jobs

    def _swaps(self, target: _Person, lender: _Person) -> Sequence[Job]:
        """The swaps of a pair, once both avatars are there. Training without synthesis only learns from them who lends."""
        if target is lender or target.avatar is None or lender.avatar is None:
            return ()
        on, of, wanted = target.avatar, lender.avatar, self._file.attributes
        jobs = swaps_of_pair(
            self._catalogue, on, of, self._config, attributes=wanted, models=self._judges, keep_stale=self._keep_stale
        )
        target.swaps |= {job.key: job for job in jobs}
        if not self._config.personalize.synthesis:
            return ()
        target.open_swaps |= {job.key for job in jobs}
        self._target_of |= {job.key: target for job in jobs}
        return jobs

    def _model(self, target: _Person) -> Sequence[Job]:
        """A target's generative avatar, once all lenders and all its swaps have ended."""
        if target not in self._targets or self._waiting or target.open_swaps or target.settled or not target.avatar:
            return ()
        target.settled = True
        if not self._made(target):
            message = "no swap of it is made, so it gets no generative avatar; `pegasus status` lists what avatars give"
            self._give_up(Stage.PERSONALIZE, target, message)
            return ()
        lost = self._missing + sum(lender.avatar is None for lender in self._lenders)
        if lost:
            lost_of_all = f"{lost} of {self._missing + len(self._lenders)} sources have no avatar"
            self.remarks.append(f"{target.name}: {lost_of_all}; it learns from the others")
        swaps = sorted(target.swaps.values(), key=lambda swap: swap.avatar)
        plan = plan_model(self._catalogue, target.avatar.key, swaps, self._config, self._keep_stale)
        self.remarks += plan.remarks
        target.model = plan.jobs[0].key
        self._target_of[target.model] = target
        return plan.jobs

    def _dress(self, target: _Person, users: Iterable[_Person]) -> Sequence[Job]:
        """The transfers from a target's generative avatar, once it is there, to those users whose avatars are there."""
        model = self._catalogue.get(Kind.MODELS, target.model) if target.model else None
        wearers = [user.avatar.key for user in users if user.avatar]
        if model is None or not wearers or target not in self._givers:
            return ()
        if target.outfit is None:
            target.outfit = self._outfit(target, model)
        if not target.outfit:
            return ()
        worn, codes = list(target.outfit), {worn: code for worn, code in target.outfit.items() if code}
        return plan_transfer(
            self._catalogue, model.key, wearers, self._config, attributes=worn, codes=codes, keep_stale=self._keep_stale
        ).jobs

    def _outfit(self, target: _Person, model: ResultEntry) -> dict[Attribute, str]:
        """What a target's generative avatar gives, and under whose code; empty: the target's own."""
        outfit, made = {}, {(swap.attribute, swap.avatar) for swap in self._made(target)}
        for attribute, whose in self._file.users.wear.chosen().items():
            avatars = (lender.avatar for lender in self._lenders if whose == ANY or whose in lender.names)
            codes = [avatar.key for avatar in avatars if avatar and (attribute, avatar.key) in made]
            own = whose == OWN or whose in target.names
            if attribute in model.attributes and (own or codes):
                outfit[attribute] = "" if own else codes[0]
            else:
                message = f"its generative avatar has not learned {attribute} of {whose}; nobody is given it from there"
                self._give_up(Stage.TRANSFER, target, message)
        return outfit

    def _made(self, target: _Person) -> list[SwapJob]:
        """The swaps that a target's generative avatar learns from."""
        synthesis = self._config.personalize.synthesis
        return [swap for swap in target.swaps.values() if not synthesis or self._catalogue.get(Kind.SWAPS, swap.key)]

    def _give_up(self, stage: Stage, target: _Person, message: str) -> None:
        told = Outcome(stage=stage, key="", subject=target.name, status="failed", reason=Reason.MISSING_ATTRIBUTE)
        self.failed.append(replace(told, message=message))

    def _meet(self, where: str, group: People) -> list[_Person]:
        """The people of a group. Those who are new get an avatar in the plan."""
        rows = read_sources(Path(group.videos)) if group.videos else []
        found = [*(Source(reference=path) for path in _listed(group.paths)), *rows]
        met = self._plan_avatars([replace(source, consent=source.consent or group.consent) for source in found])
        for name in _listed(group.names):
            met += self._called(name, where, group.consent)
        return met

    def _called(self, name: str, where: str, consent: str) -> list[_Person]:
        """Everybody of a name: among those who are met already, else a track of the library.

        Raises:
            PegasusError: BAD_REFERENCE if there is nobody, but for a source, whose lack costs nothing but itself.
        """
        people = self._people.values()
        known = [person for person in people if name in person.names or (name == ALL and person in self._lenders)]
        held = None if known else self._catalogue.tracks_named(name)
        if held is not None or (not known and where == "sources"):
            return self._plan_avatars([Source(reference=held.key if held else name, consent=consent)])
        if not known and name not in (ALL, *self._lost):
            message = "is nobody whom this file's sources show, and no track of the library; check the name"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=f"{where}: {name}")
        return known

    def _plan_avatars(self, sources: Sequence[Source]) -> list[_Person]:
        old, plan = self._plan, plan_avatars(sources, self._catalogue, self._config, keep_stale=self._keep_stale)
        jobs = tuple({job.key: job for job in (*old.jobs, *plan.jobs)}.values())
        failed, said = old.failed + plan.failed, old.recordings + plan.recordings
        self._plan = replace(old, jobs=jobs, failed=failed, recordings=said)
        lost = {outcome.subject for outcome in plan.failed}
        for source in sources:
            if shown(source.reference) in lost:
                self._lost |= {source.subject, source.reference, PurePosixPath(source.reference).stem}
        fits = [job for job in plan.jobs if isinstance(job, FitJob)]
        for fit in fits:
            if fit.key not in self._people:
                self._people[fit.key] = _Person(fit=fit)
                self._by_track.setdefault(fit.track, []).append(self._people[fit.key])
        return [self._people[fit.key] for fit in fits]

    def _expect_names(self) -> None:
        """Raises PegasusError BAD_REFERENCE where users are dressed by nobody's model, or in what is nobody's."""
        targets = {name for target in self._targets for name in target.names} | self._lost | {ALL}
        lenders = {name for lender in self._lenders for name in lender.names} | targets | {OWN, ANY}
        wear, models = self._file.users.wear.chosen(), _listed(self._file.users.models)
        wrong = [f"users.models: {name}" for name in models if name not in targets]
        wrong += [f"users.wear.{worn}: {whose}" for worn, whose in wear.items() if whose not in lenders]
        if wrong and self._users:
            raise PegasusError(Reason.BAD_REFERENCE, "is nobody of this file who could be meant", subject=wrong[0])

    def _estimate(self) -> tuple[str, ...]:
        """What follows at most, for who wants to know before it runs."""
        lenders, targets = len(self._lenders), len(self._targets)
        pairs = lenders * targets - len(self._lenders.keys() & self._targets.keys())
        swaps = pairs * len(self._file.attributes or Attribute) if self._config.personalize.synthesis else 0
        counts = f"{swaps} swaps, {targets} generative avatars and {len(self._givers) * len(self._users)} transfers"
        return (f"{lenders} sources, {targets} targets, {len(self._users)} users: at most {counts} in all",)


@dataclass(slots=True, kw_only=True, eq=False)
class _Person:
    """Somebody of the plan, and how far they are."""

    fit: FitJob
    ended: bool = False  # the avatar is made, or will not be
    avatar: ResultEntry | None = None
    swaps: dict[str, SwapJob] = field(default_factory=dict)  # on this target, by key
    open_swaps: set[str] = field(default_factory=set)  # of those, which have not ended
    settled: bool = False  # whether the generative avatar is planned, or given up
    model: str = ""  # its key
    outfit: dict[Attribute, str] | None = None  # what it gives to users, see `Recipe._outfit`

    @property
    def name(self) -> str:
        return self.fit.seen[0].name or self.fit.subject

    @property
    def names(self) -> set[str]:
        """By what a plan file may refer to them."""
        return {self.name, self.fit.subject, PurePosixPath(self.fit.subject).stem, self.fit.key, self.fit.track}


def _listed(texts: str | tuple[str, ...]) -> tuple[str, ...]:
    return (texts,) if isinstance(texts, str) and texts else tuple(texts)


def _placed(group: _Group, folder: Path) -> _Group:
    """A group with its paths relative to the file's folder."""
    paths = tuple(path if "://" in path else str(folder / Path(path).expanduser()) for path in _listed(group.paths))
    return replace(group, paths=paths, videos=str(folder / group.videos) if group.videos else "")


def _check(file: PlanFile) -> None:
    """Raises PegasusError BAD_CONFIG where a file says too little, or things that do not go together."""
    users = file.users
    for wrong, where, message in (
        (not file.sources, "sources", "name who lends, with paths, videos or names"),
        (ALL in _listed(file.sources.names), "sources.names", f"{ALL!r} means all sources; name tracks here"),
        (users and not file.targets, "targets", "name whose generative avatars dress the users"),
        (users and not users.wear.chosen(), "users.wear", 'say what they wear, and whose, as hair = "anna"'),
        (not users and users.wear.chosen(), "users", "name who is dressed, with paths, videos or names"),
    ):
        if wrong:
            raise PegasusError(Reason.BAD_CONFIG, message, subject=where)
