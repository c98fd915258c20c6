"""Room on the cluster: runs end with fewer actors than asked for, with a node less, and when stages ask for different things."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import pytest

from pegasus_ray.engine.config import EngineConfig, StageConfig
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage
from tests.engine.clusters import DiaryJob, Ran, apart, local, nodes, read_diary, run, when
from tests.engine.fakes import FakeJob, FakeSwapJob, key, status

DONE = ("done", None)


def jobs_of(
    diary: Path, number: int, *, seconds: float = 0.2, stage: Stage = Stage.FIT, first: int = 1
) -> list[FakeJob]:
    diary.mkdir(exist_ok=True)
    keys = [key(first + i) for i in range(number)]
    return [DiaryJob(key=name, stage=stage, diary=str(diary), seconds=seconds) for name in keys]


def test_more_workers_than_room_wait_for_their_turn(tmp_path: Path) -> None:
    assert apart(six_workers_on_two_cpus, tmp_path).ends() == {key(i): DONE for i in range(1, 7)}


def six_workers_on_two_cpus(folder: Path) -> Ran:
    with local(cpus=2):
        return run(folder / "library", jobs_of(folder / "diary", 6), EngineConfig(workers=6))


@pytest.mark.slow
def test_a_run_goes_on_with_what_is_left_of_the_cluster(tmp_path: Path) -> None:
    ran = apart(one_node_of_three_goes, tmp_path)
    assert ran.ends() == {key(i): DONE for i in range(1, 10)}
    assert status(Library(tmp_path / "library"))[Stage.FIT].quarantined == 0
    assert len({page.node for page in read_diary(tmp_path / "diary")}) == 3


def one_node_of_three_goes(folder: Path) -> Ran:
    with nodes(1, 1, 1) as cluster:
        diary = folder / "diary"
        jobs = jobs_of(diary, 9, seconds=2.0)
        leaving = next(iter(cluster.worker_nodes))

        def all_work() -> bool:
            return len({page.node for page in read_diary(diary)}) == 3

        when(all_work, lambda: cluster.remove_node(leaving, allow_graceful=False))
        return run(folder / "library", jobs, EngineConfig(workers=3, address=cluster.address, attempts=1))


@pytest.mark.usefixtures("cluster")
def test_what_this_machine_can_never_hold_is_refused_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(PegasusError) as caught:
        run(tmp_path / "library", jobs_of(tmp_path / "diary", 2), EngineConfig(gpus=1))
    assert time.monotonic() - began < 5
    assert caught.value.reason is Reason.BAD_CONFIG
    assert caught.value.subject == "engine.fit" and "1 CPUs, 1 GPUs" in caught.value.message


@pytest.mark.slow
def test_what_a_cluster_cannot_hold_fails_after_a_while_and_the_rest_is_done(tmp_path: Path) -> None:
    ran = apart(fits_without_a_gpu, tmp_path)
    tracks, fits = [key(i) for i in range(1, 4)], [key(i) for i in range(11, 14)]
    assert ran.ends() == dict.fromkeys(tracks, DONE) | dict.fromkeys(fits, ("failed", Reason.BAD_CONFIG))
    assert "1 GPUs" in ran.outcomes[-1].message
    assert ran.seconds < 60
    assert status(Library(tmp_path / "library"))[Stage.FIT].quarantined == 0


def fits_without_a_gpu(folder: Path) -> Ran:
    with nodes(2) as cluster:
        tracks = jobs_of(folder / "diary", 3, stage=Stage.TRACK)
        fits = [FakeJob(key=key(10 + i), needs=(key(i),)) for i in range(1, 4)]
        return run(
            folder / "library", [*tracks, *fits], EngineConfig(address=cluster.address, gpus=1, patience_minutes=0.05)
        )


@pytest.mark.usefixtures("cluster")
def test_fits_begin_while_most_tracks_still_wait(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    tracks = jobs_of(diary, 20, stage=Stage.TRACK)
    fits = [DiaryJob(key=key(100 + i), needs=(key(i),), diary=str(diary)) for i in range(1, 21)]
    ran = run(tmp_path / "library", [*tracks, *fits], EngineConfig(workers=2))
    assert ran.ends() == {job.key: DONE for job in (*tracks, *fits)}
    first_fit = min(page.began for page in read_diary(diary) if page.key >= key(100))
    ends_of_tracks = sorted(page.ended for page in read_diary(diary) if page.key < key(100))
    assert first_fit < ends_of_tracks[2]


@pytest.mark.slow
def test_stages_that_ask_for_different_things_share_a_small_machine(tmp_path: Path) -> None:
    ran = apart(wide_fits_and_narrow_tracks, tmp_path, 12, 0.5)
    assert set(ran.ends().values()) == {DONE} and len(ran.outcomes) == 18


@pytest.mark.slow
def test_tracks_give_way_to_fits_that_ask_for_more(tmp_path: Path) -> None:
    ran = apart(wide_fits_and_narrow_tracks, tmp_path, 30, 2.0)
    assert set(ran.ends().values()) == {DONE} and len(ran.outcomes) == 36
    diary = read_diary(tmp_path / "diary")
    first_fit = min(page.began for page in diary if page.key >= key(100))
    assert first_fit < max(page.began for page in diary if page.key < key(100)), "fits need not wait for all tracks"


def wide_fits_and_narrow_tracks(folder: Path, number: int, seconds: float) -> Ran:
    diary = folder / "diary"
    with local(cpus=2):
        tracks = jobs_of(diary, number, stage=Stage.TRACK, seconds=seconds)
        fits = [DiaryJob(key=key(100 + i), needs=(key(i),), diary=str(diary)) for i in range(1, 7)]
        return run(folder / "library", [*tracks, *fits], EngineConfig(fit=StageConfig(cpus=2)))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_swaps_and_a_generative_fit_get_room_while_tracks_go_on(tmp_path: Path) -> None:
    tracks = jobs_of(tmp_path / "diary", 60, stage=Stage.TRACK, seconds=2.5)
    numbers = count(1000)
    swaps = [FakeSwapJob(key=key(next(numbers))) for _ in range(3)]
    trained = FakeJob(key=key(next(numbers)), stage=Stage.PERSONALIZE)
    ran = run(tmp_path / "library", [*tracks, *swaps, trained], EngineConfig())
    assert ran.ends() == {job.key: DONE for job in (*tracks, *swaps, trained)}
    order = [outcome.stage for outcome in ran.outcomes]
    last_track = len(order) - 1 - order[::-1].index(Stage.TRACK)
    assert all(order.index(stage) < last_track for stage in (Stage.SWAP, Stage.PERSONALIZE))
    assert order[:last_track].count(Stage.SWAP) == 3
