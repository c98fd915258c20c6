"""Invariants of the stages as jobs.

All stages run from the library's keys alone. What is done is not done again. The same work gives the same bytes, in one run
or resumed after a kill. A swap that lost a shard makes only that shard.
"""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pegasus_ray.engine.inline import InlineExecutor
from pegasus_ray.jobs.fit import FitJob
from pegasus_ray.jobs.personalize import PersonalizeJob
from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.jobs.work import Job, attempt
from pegasus_ray.library.library import Library
from pegasus_ray.library.mark import MARK
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger, StageCounts
from pegasus_ray.library.shards import find_shard
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest, SeenPerson, Stage, entry_of
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import fit
from tests.engine.fakes import status
from tests.jobs import small


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Library, list[FitJob], list[SwapJob], PersonalizeJob]]:
    library = Library(tmp_path_factory.mktemp("library"))
    fits = small.stock(library)
    swaps = small.swaps(fits)
    trained = small.model(fits, swaps)
    run(library, *fits, *swaps, trained, *small.transfers(fits, trained))
    yield library, fits, swaps, trained


def run(library: Library, *jobs: Job) -> list[str]:
    outcomes = InlineExecutor(Catalogue(library)).run(jobs, lambda event: None)
    assert [outcome.message for outcome in outcomes if outcome.status == "failed"] == []
    return [outcome.status for outcome in outcomes]


def payload(manifest: Manifest | None) -> list[tuple[str, str]]:
    assert manifest is not None
    return [(file.name, file.sha256) for file in manifest.files]


def copy(library: Library, folder: Path, *kinds: Kind) -> Library:
    for kind in kinds:
        shutil.copytree(Path(library.location) / kind, folder / kind)
    shutil.copy(Path(library.location) / MARK, folder)
    return Library(folder)


def test_the_whole_way_leaves_valid_results_that_name_their_inputs(made) -> None:
    library, fits, swaps, trained = made
    counts = {kind: len(library.keys(kind)) for kind in Kind}
    assert counts == {Kind.TRACKS: 2, Kind.AVATARS: 2, Kind.SWAPS: 2, Kind.MODELS: 1, Kind.TRANSFERS: 2}
    found = verify(library)
    assert found.bad == ()
    assert found.rows_checked == 2 * 8 + 2 * 4
    avatar = library.manifest(Kind.AVATARS, fits[0].key)
    assert avatar.input("track") == fits[0].track
    assert Attribute.NOSE in avatar.attributes
    assert avatar.file("preview.png") is not None
    assert {entry.key for entry in library.manifest(Kind.MODELS, trained.key).inputs} >= {job.key for job in swaps}
    assert all(
        library.manifest(Kind.TRANSFERS, key).input("track") == fits[1].track for key in library.keys(Kind.TRANSFERS)
    )


def test_a_second_run_redoes_nothing(made) -> None:
    library, fits, swaps, trained = made
    assert set(run(library, *fits, *swaps, trained, *small.transfers(fits, trained))) == {"skipped"}


def test_the_same_work_gives_the_same_bytes(made, tmp_path: Path) -> None:
    library, fits, swaps, trained = made
    again = copy(library, tmp_path, Kind.TRACKS)
    run(again, *fits, *swaps, trained)
    for job in (fits[0], swaps[0], trained):
        assert payload(again.manifest(job.stage.kind, job.key)) == payload(library.manifest(job.stage.kind, job.key))


@pytest.mark.parametrize("which", ["fit", "personalize", "personalize fields"])
def test_killed_in_the_middle_it_goes_on_and_ends_at_the_same_bytes(made, tmp_path: Path, which: str) -> None:
    library, fits, swaps, trained = made
    job = {"fit": fits[0], "personalize": trained}.get(which) or small.field_model(fits, swaps)
    if which == "personalize fields":
        library = copy(library, tmp_path / "whole", Kind.TRACKS, Kind.AVATARS, Kind.SWAPS)
        run(library, job)
    kinds = (Kind.TRACKS,) if which == "fit" else (Kind.TRACKS, Kind.AVATARS, Kind.SWAPS)
    again = copy(library, tmp_path, *kinds)
    folder = tmp_path / "checkpoints" / f"{job.stage}-{job.key}"

    class Killed(BaseException):
        """As a signal: no handler of ordinary errors sees it."""

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", _killing(Path.replace, folder, Killed))
        with pytest.raises(Killed):
            attempt(job, again, _silent, number=1)
    assert any(folder.iterdir()), "a checkpoint is left"
    assert not again.exists(job.stage.kind, job.key)
    assert run(again, job) == ["done"]
    assert payload(again.manifest(job.stage.kind, job.key)) == payload(library.manifest(job.stage.kind, job.key))
    assert not folder.exists()


@pytest.mark.parametrize("which", ["fit", "personalize"])
def test_a_full_disk_at_the_commit_costs_the_commit_alone(made, tmp_path: Path, which: str) -> None:
    library, fits, _, trained = made
    job = fits[0] if which == "fit" else trained
    kinds = (Kind.TRACKS,) if which == "fit" else (Kind.TRACKS, Kind.AVATARS, Kind.SWAPS)
    again = copy(library, tmp_path, *kinds)

    def full(*_: object) -> None:
        raise PegasusError(Reason.DISK_FULL, "the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Library, "commit", full)
        assert attempt(job, again, _silent).reason is Reason.DISK_FULL
    first: list[str] = []
    assert attempt(job, again, lambda share, text: first.append(text), number=2).status == "done"
    assert payload(again.manifest(job.stage.kind, job.key)) == payload(library.manifest(job.stage.kind, job.key))
    assert not any("loss" in text for text in first), "it does not begin anew"
    assert not (tmp_path / "checkpoints" / f"{job.stage}-{job.key}").exists()


def test_a_swap_that_lost_a_shard_makes_only_that_one(made, tmp_path: Path) -> None:
    library, _, swaps, _ = made
    job = swaps[0]
    before = library.manifest(Kind.SWAPS, job.key)
    again = copy(library, tmp_path, Kind.TRACKS, Kind.AVATARS, Kind.SWAPS)
    again.storage.remove(f"{Kind.SWAPS}/{job.key}/{before.files[0].path}")
    assert [find_shard(again, shard) is None for shard in job.shards(again)].count(True) == 1
    assert run(again, job) == ["done"]
    assert payload(again.manifest(Kind.SWAPS, job.key)) == payload(before)


def test_keys_follow_the_wishes_and_not_the_order(made) -> None:
    _, fits, swaps, trained = made
    fit = fits[0]
    assert FitJob.plan(fit.track, fit.config, subject="another name").key == fit.key
    others = [
        small.with_steps(fit, 99),
        FitJob.plan(fits[1].track, fit.config, subject=fit.subject),
    ]
    assert len({fit.key, *(other.key for other in others)}) == 3
    named = SeenPerson(recording=fit.track, name="anna", consent="signed")
    assert FitJob.plan(fit.track, fit.config, subject="anna", seen=[named]).key == fit.key, (
        "what people say is in no key"
    )
    assert small.model(fits, swaps[::-1]).key == trained.key
    assert small.model(fits, swaps[:1]).key != trained.key
    assert len(pickle.dumps(trained)) < 4000


def test_the_ladder_makes_another_result_of_a_fit_and_the_same_of_a_swap(made) -> None:
    _, fits, swaps, _ = made
    for job in (fits[0], swaps[0]):
        steps, following = 0, job
        while (smaller := following.smaller()) is not None:
            assert smaller != following
            following, steps = smaller, steps + 1
            if job is swaps[0]:
                assert following.key == job.key, "fewer frames at a time are the same frames"
            else:
                assert following.key != job.key and following.instead_of == job.key
        assert 1 <= steps < 10


def test_what_was_made_smaller_says_so_and_is_made_anew_only_where_there_is_more_room(made, tmp_path: Path) -> None:
    library, fits, _, _ = made
    again = copy(library, tmp_path, Kind.TRACKS)
    hungry = replace(fits[0], config=replace(fits[0].config, seed=7))

    class OutOfMemoryError(RuntimeError):
        """As torch names it."""

    def fit_small_ones(track, config, **rest):
        if config == hungry.config:
            raise OutOfMemoryError
        return fit(track, config, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pegasus_ray.jobs.fit.fit", fit_small_ones)
        (outcome,) = InlineExecutor(Catalogue(again)).run([hungry], lambda event: None)
    assert outcome.status == "done" and outcome.key != hungry.key and "smaller" in outcome.message
    catalogue = Catalogue(again)
    entry = catalogue.instead_of(Kind.AVATARS, hungry.key)
    assert entry == entry_of(again.expect(Kind.AVATARS, outcome.key)) and entry.room > 1 << 30
    assert status(again)[Stage.FIT] == StageCounts(done=1, smaller=1), "nothing of it counts as failed"
    assert Ledger(again).failures(catalogue) == []
    (skipped,) = InlineExecutor(catalogue).run([replace(hungry, short_of=entry.room)], lambda event: None)
    assert skipped.status == "skipped" and "no more of it" in skipped.message
    (made_anew,) = InlineExecutor(catalogue).run([replace(hungry, short_of=entry.room // 2)], lambda event: None)
    assert (made_anew.status, made_anew.key) == ("done", hungry.key)
    assert catalogue.preferred(catalogue.entries(Kind.AVATARS)) == [catalogue.get(Kind.AVATARS, hungry.key)]
    assert status(again)[Stage.FIT].smaller == 0


def _silent(share: float, text: str) -> None:
    pass


def _killing(replace_file, folder: Path, killed: type[BaseException]):
    """`Path.replace` that ends the process's work once a checkpoint is in place."""

    def replaced(path: Path, target: Path) -> Path:
        done = replace_file(path, target)
        if Path(target).parent == folder:
            raise killed
        return done

    return replaced


_: Progress = _silent
