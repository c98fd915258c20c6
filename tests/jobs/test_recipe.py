"""Invariants of recipes: a plan file is read strictly; each thing is planned once, as soon as and only when it is possible, under
the keys that the single commands give it; a source that fails costs itself alone; hundreds of sources take seconds.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pegasus_ray.engine.run_plan import look_ahead
from pegasus_ray.engine.schedule import Schedule
from pegasus_ray.jobs import recipe as recipes
from pegasus_ray.jobs.personalize import PersonalizeJob
from pegasus_ray.jobs.plan import plan_personalize, plan_swaps
from pegasus_ray.jobs.recipe import People, PlanFile, Recipe, Users, Wear, read_plan_file
from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.jobs.transfer import TransferJob
from pegasus_ray.jobs.work import Job, Outcome, failed_outcome
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.recordings import read_recordings
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, Kind, ResultEntry, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig
from pegasus_ray.stages.settings import override

HAIR, NOSE = Attribute.HAIR, Attribute.NOSE
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "plan.toml"

Fails = Callable[[Job], bool]
Planned = dict[str, Job]  # by key


class Run:
    """A run of a recipe whose jobs end at once, in the schedule's order, as `fails` says."""

    def __init__(
        self,
        recipe: Recipe,
        catalogue: Catalogue,
        *,
        fails: Fails = lambda job: False,
        gives: Callable[[str], tuple[Attribute, ...]] = lambda subject: (HAIR, NOSE),
    ) -> None:
        self.first = recipe.first(catalogue)
        catalogue.say(self.first.recordings)
        self.jobs: Planned = {}
        self.gives = gives
        schedule = Schedule(
            self.first.jobs, catalogue, attempts=1, on_event=lambda event: None, more=lambda end: self.note(recipe, end)
        )
        self.jobs |= {job.key: job for job in self.first.jobs}
        self.tried = 0
        while (tried := schedule.take()) is not None:
            self.tried += 1
            job = tried.planned
            told = failed_outcome(job, Reason.DIVERGED, "is lost") if fails(job) else self.made(job)
            schedule.record_outcome(tried, told)
        assert schedule.finished()
        self.outcomes = schedule.outcomes

    def note(self, recipe: Recipe, outcome: Outcome) -> list[Job]:
        jobs = list(recipe.more(outcome))
        assert not {job.key for job in jobs} & self.jobs.keys(), "planned twice"
        assert list(recipe.more(outcome)) == jobs, "asked again, it gives the same"
        self.jobs |= {job.key: job for job in jobs}
        return jobs

    def made(self, job: Job) -> Outcome:
        inputs, attributes = {}, ()
        if job.stage is Stage.FIT:
            inputs, attributes = {"track": job.track}, self.gives(job.subject)
        if job.stage is Stage.PERSONALIZE:
            attributes = tuple(Attribute)
        entry = ResultEntry(
            key=job.key,
            kind=job.stage.kind,
            format_version=FORMAT_VERSIONS[job.stage.kind],
            source=job.subject,
            seen=tuple(person.recording for person in job.seen),
            attributes=attributes,
            rig="open",
            inputs=inputs,
        )
        return Outcome(stage=job.stage, key=job.key, subject=job.subject, status="done", entry=entry)

    def of(self, kind: type) -> list:
        return [job for job in self.jobs.values() if isinstance(job, kind)]


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue(Library(tmp_path / "library"))


def videos(folder: Path, *names: str) -> tuple[str, ...]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / f"{name}.mp4").write_bytes(name.encode())
    return tuple(str(folder / f"{name}.mp4") for name in names)


def plan_file(folder: Path) -> PlanFile:
    """Four sources of whom two are targets, and a new user."""
    return PlanFile(
        sources=People(paths=videos(folder, "anna", "bert", "carl", "dora")),
        targets=People(names=("anna", "bert")),
        users=Users(paths=videos(folder, "new"), models="anna", wear=Wear(hair="bert", nose="any")),
    )


def test_a_file_is_read_as_it_says_it_is() -> None:
    file, folder = read_plan_file(EXAMPLE), EXAMPLE.parent
    assert file.preset == "fast" and file.attributes == (HAIR, NOSE)
    assert file.sources == People(paths=(f"{folder}/clips/*.mp4",), consent="theirs, for this project")
    assert file.targets.names == ("anna", "bert")
    assert file.users.wear.chosen() == {HAIR: "bert", NOSE: "any"}
    assert override(PipelineConfig(), file.settings).fit.seed == 3
    for key in ("preset", "attributes", "paths", "videos", "names", "consent", "models", "[users.wear]", "[settings]"):
        assert key in (recipes.__doc__ or "") and key in EXAMPLE.read_text()


def test_paths_are_relative_to_the_file_and_addresses_are_not(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('[sources]\npaths = ["a.mp4", "/b.mp4", "s3://c/d.mp4"]\nvideos = "t.csv"\n')
    sources = read_plan_file(path).sources
    assert sources.paths == (f"{tmp_path}/a.mp4", "/b.mp4", "s3://c/d.mp4")
    assert sources.videos == f"{tmp_path}/t.csv"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["sources", "who lends"]),
        ('[sources]\npaths = "a.mp4"\n[target]\nnames = "all"\n', ["target", "targets"]),
        ('[sources]\npath = "a.mp4"\n', ["sources.path", "paths"]),
        ('[sources]\npaths = [1]\n', ["sources.paths"]),
        ('[sources]\nnames = "all"\n', ["sources.names"]),
        ('attributes = ["hare"]\n[sources]\npaths = "a.mp4"\n', ["attributes", "hair"]),
        ('[sources]\npaths = "a.mp4"\n[users]\npaths = "b.mp4"\nwear = {hair = "any"}\n', ["targets"]),
        ('[sources]\npaths = "a.mp4"\n[targets]\nnames = "all"\n[users]\npaths = "b.mp4"\n', ["users.wear", "hair"]),
        ('[sources]\npaths = "a.mp4"\n[users.wear]\nhare = "any"\n', ["users.wear.hare", "hair"]),
        ('[sources]\npaths = "a.mp4"\n[users.wear]\nhair = "any"\n', ["users"]),
        ("[sources\n", ["line 1"]),
        ('settings = 3\n[sources]\npaths = "a.mp4"\n', ["settings"]),
    ],
)  # fmt: skip
def test_what_a_file_may_not_say_is_named_with_its_place(tmp_path: Path, text: str, says: list[str]) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(PegasusError) as caught:
        read_plan_file(path)
    assert caught.value.reason is Reason.BAD_CONFIG
    told = f"{caught.value.subject}: {caught.value.message}"
    assert all(word in told for word in (str(path), *says)), told


def test_everything_follows_once_and_under_the_keys_of_the_single_commands(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    config = PipelineConfig()
    run = Run(Recipe(plan_file(tmp_path / "v"), config), catalogue)
    assert Counter(job.stage for job in run.first.jobs) == {Stage.TRACK: 5, Stage.FIT: 5}
    assert (
        "4 sources, 2 targets, 1 users: at most 36 swaps, 2 generative avatars and 1 transfers" in run.first.remarks[0]
    )
    swaps, models = run.of(SwapJob), run.of(PersonalizeJob)
    assert len(swaps) == 2 * 3 * 2 and len(models) == 2
    lenders = sorted({swap.avatar for swap in swaps})
    for model in models:
        same = plan_swaps(catalogue, model.target, config, avatars=lenders).jobs
        assert {job.key for job in same} == {swap.key for swap in swaps if swap.target == model.target}
        assert plan_personalize(catalogue, model.target, config, avatars=lenders).jobs == (model,)
    (transfer,) = run.of(TransferJob)
    assert transfer.attributes == (HAIR, NOSE)
    assert {catalogue.name(catalogue.get(Kind.AVATARS, key)) for _, key in transfer.codes} == {"bert"}, "any: the first"
    assert catalogue.name(catalogue.get(Kind.AVATARS, transfer.user)) == "new"


def test_a_second_run_tries_nothing_and_knows_so_beforehand(catalogue: Catalogue, tmp_path: Path) -> None:
    file = plan_file(tmp_path / "v")
    once = Run(Recipe(file, PipelineConfig()), catalogue)
    again = Run(Recipe(file, PipelineConfig()), catalogue)
    assert (again.tried, again.jobs.keys()) == (0, once.jobs.keys())
    recipe = Recipe(file, PipelineConfig())
    ahead = look_ahead(recipe.first(catalogue), catalogue, recipe.more)
    assert {job.key for job in ahead.jobs} == once.jobs.keys()


def test_a_run_goes_on_where_an_earlier_one_was_killed(catalogue: Catalogue, tmp_path: Path) -> None:
    file = plan_file(tmp_path / "v")

    class Killed(Exception):
        pass

    def killed(job: Job) -> bool:
        if job.stage is Stage.SWAP and sum(1 for _ in catalogue.entries(Kind.SWAPS)) == 5:
            raise Killed
        return False

    with pytest.raises(Killed):
        Run(Recipe(file, PipelineConfig()), catalogue, fails=killed)
    there = sum(len(catalogue.entries(kind)) for kind in Kind)
    rest = Run(Recipe(file, PipelineConfig()), catalogue)
    assert rest.tried == len(rest.jobs) - there
    assert len(rest.of(PersonalizeJob)) == 2 and len(rest.of(TransferJob)) == 1


def test_a_recipe_serves_a_schedule_that_is_made_anew(catalogue: Catalogue, tmp_path: Path) -> None:
    """As with Ray, where a first schedule finds out whether a cluster is needed at all."""
    file = plan_file(tmp_path / "v")
    whole = Run(Recipe(file, PipelineConfig()), catalogue, fails=lambda job: job.stage is Stage.SWAP)
    recipe = Recipe(file, PipelineConfig())
    jobs = recipe.first(catalogue).jobs
    for _ in range(2):
        schedule = Schedule(jobs, catalogue, attempts=1, on_event=lambda event: None, more=recipe.more)
        assert schedule.ready({Stage.SWAP}) == len(whole.of(SwapJob))


@pytest.mark.parametrize("stage", [Stage.TRACK, Stage.FIT])
def test_a_source_that_fails_costs_itself_alone(catalogue: Catalogue, tmp_path: Path, stage: Stage) -> None:
    recipe = Recipe(plan_file(tmp_path / "v"), PipelineConfig())
    run = Run(recipe, catalogue, fails=lambda job: job.stage is stage and job.seen[0].name == "carl")
    assert len(run.of(SwapJob)) == 2 * 2 * 2
    assert len(run.of(PersonalizeJob)) == 2 and len(run.of(TransferJob)) == 1
    assert [remark for remark in recipe.remarks if "anna: 1 of 4 sources" in remark]
    assert recipe.failed == []


def test_a_source_that_is_not_there_is_named_and_counted(catalogue: Catalogue, tmp_path: Path) -> None:
    file = plan_file(tmp_path / "v")
    sources = replace(file.sources, paths=(*file.sources.paths, str(tmp_path / "gone.mp4")))
    file = replace(file, sources=sources, targets=People(names=("anna", "gone")))
    recipe = Recipe(file, PipelineConfig())
    run = Run(recipe, catalogue)
    assert [(told.reason, Path(told.subject).name) for told in run.first.failed] == [(Reason.NOT_FOUND, "gone.mp4")]
    assert len(run.of(PersonalizeJob)) == 1
    assert any("1 of 5 sources" in remark for remark in recipe.remarks)


def test_an_avatar_that_was_made_smaller_lends_in_the_place_of_the_planned_one(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller = "5" * 16

    def made_smaller(run: Run, job: Job) -> Outcome:
        told = make(run, job)
        if job.stage is Stage.FIT and job.seen[0].name == "carl":
            entry = told.entry.model_copy(update={"key": smaller, "instead_of": job.key})
            return replace(told, key=smaller, entry=entry)
        return told

    make = Run.made
    monkeypatch.setattr(Run, "made", made_smaller)
    run = Run(Recipe(plan_file(tmp_path / "v"), PipelineConfig()), catalogue)
    assert sum(swap.avatar == smaller for swap in run.of(SwapJob)) == 2 * 2
    assert len(run.of(SwapJob)) == 2 * 3 * 2 and len(run.of(PersonalizeJob)) == 2


def test_swaps_that_fail_are_missing_in_the_model(catalogue: Catalogue, tmp_path: Path) -> None:
    recipe = Recipe(plan_file(tmp_path / "v"), PipelineConfig())
    run = Run(recipe, catalogue, fails=lambda job: job.subject in ("hair of bert on anna", "nose of bert on anna"))
    assert {len(model.swaps) for model in run.of(PersonalizeJob)} == {4, 6}
    (transfer,) = run.of(TransferJob)
    assert transfer.attributes == (NOSE,), "hair of bert is not learned"
    assert [(told.stage, told.subject) for told in recipe.failed] == [(Stage.TRANSFER, "anna")]


def test_where_nobody_gives_anything_it_is_said(catalogue: Catalogue, tmp_path: Path) -> None:
    recipe = Recipe(plan_file(tmp_path / "v"), PipelineConfig())
    run = Run(recipe, catalogue, gives=lambda subject: ())
    assert run.of(SwapJob) == run.of(PersonalizeJob) == []
    assert [(told.stage, told.subject, told.reason) for told in recipe.failed] == [
        (Stage.PERSONALIZE, name, Reason.MISSING_ATTRIBUTE) for name in ("anna", "bert")
    ]


def test_without_synthesis_models_need_no_swaps(catalogue: Catalogue, tmp_path: Path) -> None:
    config = override(PipelineConfig(), {"personalize": {"synthesis": False}})
    run = Run(Recipe(plan_file(tmp_path / "v"), config), catalogue)
    assert run.of(SwapJob) == []
    assert {len(model.people) for model in run.of(PersonalizeJob)} == {3}


def test_what_a_table_says_holds_for_this_very_plan(catalogue: Catalogue, tmp_path: Path) -> None:
    file = plan_file(tmp_path / "v")
    Run(Recipe(file, PipelineConfig()), catalogue)
    table = tmp_path / "videos.csv"
    table.write_text("path,attributes\nv/bert.mp4,hair\nv/carl.mp4,hair\n")
    file = replace(file, sources=People(videos=str(table), names="dora"), targets=People(names="dora"))
    file = replace(file, users=Users())
    recipe = Recipe(file, PipelineConfig())
    ahead = look_ahead(recipe.first(catalogue), catalogue, recipe.more)
    assert {job.attribute for job in ahead.jobs if isinstance(job, SwapJob)} == {HAIR}
    assert not any(said.lends for said in read_recordings(catalogue.library).values()), "nothing is written yet"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ({"targets": People(names="anne")}, "targets: anne"),
        ({"users": Users(names="anna", models="carl", wear=Wear(hair="any"))}, "users.models: carl"),
        ({"users": Users(names="anna", wear=Wear(hair="anne"))}, "users.wear.hair: anne"),
    ],
)
def test_a_name_of_nobody_is_refused_at_once(catalogue: Catalogue, tmp_path: Path, file: dict, says: str) -> None:
    with pytest.raises(PegasusError) as caught:
        Recipe(replace(plan_file(tmp_path / "v"), **file), PipelineConfig()).first(catalogue)
    assert (caught.value.reason, caught.value.subject) == (Reason.BAD_REFERENCE, says)


def test_two_hundred_sources_for_twenty_targets_are_planned_pair_by_pair(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: Counter[tuple[str, str]] = Counter()
    plan_pair = recipes.swaps_of_pair

    def counted(catalogue, wearer, lender, *more, **named):
        pairs[wearer.key, lender.key] += 1
        return plan_pair(catalogue, wearer, lender, *more, **named)

    monkeypatch.setattr(recipes, "swaps_of_pair", counted)
    names = [f"s{number:03}" for number in range(200)]
    file = PlanFile(
        sources=People(paths=videos(tmp_path / "v", *names)),
        targets=People(names=tuple(names[:20])),
        users=Users(paths=videos(tmp_path / "u", "new", "newer"), wear=Wear(hair="s100", nose="own")),
    )
    recipe = Recipe(file, PipelineConfig())
    began = time.process_time()  # others may be using this machine
    run = Run(
        recipe,
        catalogue,
        fails=lambda job: job.stage is Stage.FIT and job.subject in ("s150.mp4", "s151.mp4"),
        gives=lambda subject: tuple(Attribute),
    )
    seconds = time.process_time() - began
    assert set(pairs.values()) == {1} and len(pairs) == 197 * 20, "each pair is looked at once"
    assert len(run.of(SwapJob)) == 197 * 20 * 6
    assert len(run.of(PersonalizeJob)) == 20 and len(run.of(TransferJob)) == 40
    assert sum("2 of 200 sources have no avatar" in remark for remark in recipe.remarks) == 20
    assert seconds < 20
