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
from pegasus_ray.library.shards import missing_shards
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
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
    outcomes = InlineExecutor(library).run(jobs, lambda event: None)
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
    counts = {kind: len(library.list(kind)) for kind in Kind}
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
        library.manifest(Kind.TRANSFERS, key).input("track") == fits[1].track for key in library.list(Kind.TRANSFERS)
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
    assert len(missing_shards(again, job.shards(again))) == 1
    assert run(again, job) == ["done"]
    assert payload(again.manifest(Kind.SWAPS, job.key)) == payload(before)


def test_keys_follow_the_wishes_and_not_the_order(made) -> None:
    _, fits, swaps, trained = made
    fit = fits[0]
    assert FitJob.plan(fit.track, fit.config, subject="another name").key == fit.key
    others = [
        small.with_steps(fit, 99),
        FitJob.plan(fits[1].track, fit.config, subject=fit.subject),
        FitJob.plan(fit.track, fit.config, subject=fit.subject, lends=[Attribute.HAIR]),
    ]
    assert len({fit.key, *(other.key for other in others)}) == 4
    assert small.model(fits, swaps[::-1]).key == trained.key
    assert small.model(fits, swaps[:1]).key != trained.key
    assert len(pickle.dumps(trained)) < 4000


def test_the_ladder_shrinks_the_work_under_the_same_key_and_ends(made) -> None:
    _, fits, swaps, _ = made
    for job in (fits[0], swaps[0]):
        steps, following = 0, job
        while (smaller := following.smaller()) is not None:
            assert smaller.key == job.key
            assert smaller != following
            following, steps = smaller, steps + 1
        assert 1 <= steps < 10


def test_an_avatar_gives_only_what_its_video_is_there_to_give(made, tmp_path: Path) -> None:
    library, fits, _, _ = made
    again = copy(library, tmp_path, Kind.TRACKS)
    job = FitJob.plan(
        fits[0].track, fits[0].config, subject="x", lends=[Attribute.NOSE, Attribute.HAT], consent="agreed"
    )
    run(again, replace(job))
    manifest = again.manifest(Kind.AVATARS, job.key)
    assert manifest.attributes == (Attribute.NOSE,), "no hat is to be seen"
    assert manifest.consent == "agreed"


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
