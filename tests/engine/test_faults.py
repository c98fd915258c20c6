"""Faults: what may be the worker's fault is tried elsewhere, what is nobody's costs nothing, and no fault costs another job."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import ray

from pegasus_ray.engine import actors
from pegasus_ray.engine.config import EngineConfig, StageConfig
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage
from tests.engine.clusters import DiaryJob, Ran, apart, nodes, read_diary, run, when
from tests.engine.fakes import FakeJob, key, status

DONE = ("done", None)


def job(number: int, diary: Path, trouble: str = "", **facts: float) -> DiaryJob:
    diary.mkdir(exist_ok=True)
    return DiaryJob(key=key(number), diary=str(diary), trouble=trouble, **facts)


@pytest.mark.usefixtures("cluster")
def test_what_may_be_the_workers_fault_is_tried_once_more_in_another_process(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    troubles = ["bug", "asset missing", "disk full"]
    passing = [job(i, diary, f"1 times {trouble}") for i, trouble in enumerate(troubles, 1)]
    lasting = [job(i, diary, f" times {trouble}") for i, trouble in enumerate(troubles, 11)]
    reasons = [Reason.INTERNAL, Reason.ASSET_MISSING, Reason.DISK_FULL]
    began = time.monotonic()
    ran = run(tmp_path / "library", [*passing, *lasting], EngineConfig(workers=2, attempts=5))
    assert ran.ends() == {key(i): DONE for i in (1, 2, 3)} | {
        key(i): ("failed", reason) for i, reason in enumerate(reasons, 11)
    }
    for each in (*passing, *lasting):
        tries = read_diary(diary, each.key)
        assert len(tries) == 2 and tries[0].process != tries[1].process
    counts = status(Library(tmp_path / "library"))[Stage.FIT]
    assert (counts.failed, counts.quarantined) == (3, 0)
    assert time.monotonic() - began < 60, "where there is one node only, nobody waits for another"


@pytest.mark.slow
def test_what_fails_on_one_node_is_done_on_another(tmp_path: Path) -> None:
    ran = apart(a_bug_on_the_first_node, tmp_path)
    assert ran.ends() == {key(i): DONE for i in range(1, 5)}
    tries = read_diary(tmp_path / "diary", key(1))
    assert len(tries) == 2 and tries[0].node != tries[1].node


def a_bug_on_the_first_node(folder: Path) -> Ran:
    with nodes(1, 1) as cluster:
        diary = folder / "diary"
        jobs = [job(1, diary, "1 times asset missing"), *(job(i, diary, seconds=1.0) for i in (2, 3, 4))]
        return run(folder / "library", jobs, EngineConfig(address=cluster.address))


@pytest.mark.usefixtures("cluster")
def test_what_takes_too_long_is_ended_and_set_aside_and_the_rest_is_done(tmp_path: Path) -> None:
    diary = tmp_path / "diary"
    jobs = [job(1, diary, " times sleep"), *(job(i, diary, seconds=0.1) for i in range(2, 8))]
    jobs.append(job(8, diary, "1 times sleep", seconds=0.1))
    config = EngineConfig(workers=2, attempts=2, fit=StageConfig(timeout_minutes=0.05))
    ran = run(tmp_path / "library", jobs, config)
    assert ran.ends() == {key(1): ("failed", Reason.TIMED_OUT)} | {key(i): DONE for i in range(2, 9)}
    assert "timeout_minutes" in next(outcome.message for outcome in ran.outcomes if outcome.key == key(1))
    assert len(read_diary(diary, key(1))) == 2 == len(read_diary(diary, key(8)))
    assert status(Library(tmp_path / "library"))[Stage.FIT].quarantined == 1


class Elsewhere(actors.Worker):
    """A worker on a machine where another disk is mounted at the library's path."""

    def answer(self, token: str) -> tuple[str, bool]:
        self._library = Library(f"{self._library.location}-of-its-own")
        return super().answer(token)


@pytest.mark.usefixtures("cluster")
def test_workers_that_see_another_library_end_the_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "Worker", Elsewhere)
    began = time.monotonic()
    with pytest.raises(PegasusError) as caught:
        run(tmp_path / "library", [job(1, tmp_path / "diary")], EngineConfig(workers=1))
    assert caught.value.reason is Reason.BAD_LIBRARY
    assert time.monotonic() - began < 30
    assert read_diary(tmp_path / "diary") == []


class Broken(actors.Worker):
    """A worker that cannot start."""

    def __init__(self, *arguments: object) -> None:
        raise ImportError("no such module on this node")


@pytest.mark.usefixtures("cluster")
def test_workers_that_do_not_start_fail_their_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actors, "Worker", Broken)
    ran = run(tmp_path / "library", [job(i, tmp_path / "diary") for i in range(1, 6)], EngineConfig(workers=2))
    assert ran.ends() == {key(i): ("failed", Reason.BAD_CONFIG) for i in range(1, 6)}
    assert any("no such module" in word for word in ran.words)


@pytest.mark.usefixtures("cluster")
def test_want_of_memory_goes_down_the_ladder(tmp_path: Path) -> None:
    jobs = [job(1, tmp_path / "diary", " times memory for more than one"), job(2, tmp_path / "diary", " times memory")]
    ran = run(tmp_path / "library", jobs, EngineConfig(workers=2))
    assert ran.ends() == {key(1): DONE, key(2): ("failed", Reason.OUT_OF_MEMORY)}
    summaries = {outcome.key: outcome.summary for outcome in ran.outcomes}
    assert summaries[key(1)]["batch"] == 1
    assert [len(read_diary(tmp_path / "diary", key(i))) for i in (1, 2)] == [3, 3]


@pytest.mark.slow
def test_nodes_that_are_taken_away_cost_a_job_no_try(tmp_path: Path) -> None:
    ran = apart(three_nodes_go_under_one_job, tmp_path)
    assert ran.ends() == {key(1): DONE}
    tries = read_diary(tmp_path / "diary", key(1))
    assert len({page.node for page in tries}) == len(tries) == 4


def three_nodes_go_under_one_job(folder: Path) -> Ran:
    with nodes(1, 1, 1, 1) as cluster:
        diary = folder / "diary"

        def remove_nodes() -> None:
            for gone in range(1, 4):
                while len(tries := read_diary(diary)) < gone:
                    time.sleep(0.05)
                its = next(node for node in cluster.worker_nodes if node.node_id == tries[-1].node)
                cluster.remove_node(its, allow_graceful=False)

        when(lambda: True, remove_nodes)
        jobs = [job(1, diary, "3 times sleep")]
        return run(folder / "library", jobs, EngineConfig(address=cluster.address, attempts=1))


@pytest.mark.slow
def test_a_node_that_goes_while_workers_start_on_it_does_not_end_the_run(tmp_path: Path) -> None:
    ran = apart(a_node_goes_under_starting_workers, tmp_path)
    assert ran.ends() == {key(i): DONE for i in range(1, 7)}


class SlowToStart(actors.Worker):
    """A worker that leaves a file when it begins to start, and starts once a certain file is there."""

    def __init__(self, location: str, *rest: object) -> None:
        starts = Path(location).parent / "starts"
        (starts / f"{ray.get_runtime_context().get_node_id()}-{time.monotonic()}").touch()
        while not (starts / "go").exists():
            time.sleep(0.1)
        super().__init__(location, *rest)


def a_node_goes_under_starting_workers(folder: Path) -> Ran:
    actors.Worker = SlowToStart
    starts = folder / "starts"
    starts.mkdir()
    with nodes(4, 1) as cluster:
        leaving = max(cluster.worker_nodes, key=lambda node: node.get_resource_and_label_spec().num_cpus)

        def remove_node() -> None:
            cluster.remove_node(leaving, allow_graceful=False)
            time.sleep(5)  # until the driver has heard of it
            (starts / "go").touch()

        when(lambda: len(list(starts.glob(f"{leaving.node_id}*"))) >= actors.FAILED_STARTS, remove_node)
        jobs: list[FakeJob] = [job(i, folder / "diary") for i in range(1, 7)]
        return run(folder / "library", jobs, EngineConfig(address=cluster.address))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_six_bad_jobs_of_thirty_fail_each_for_its_reason(tmp_path: Path) -> None:
    bad = {
        3: ("no video", Reason.NOT_A_VIDEO),
        8: ("diverged", Reason.DIVERGED),
        13: ("bug", Reason.INTERNAL),
        18: ("memory", Reason.OUT_OF_MEMORY),
        23: ("death", Reason.WORKER_DIED),
        28: ("sleep", Reason.TIMED_OUT),
    }
    diary = tmp_path / "diary"
    jobs = [job(i, diary, f" times {bad[i][0]}" if i in bad else "", seconds=0.05) for i in range(1, 31)]
    config = EngineConfig(workers=3, attempts=2, fit=StageConfig(timeout_minutes=0.05))
    ran = run(tmp_path / "library", jobs, config)
    assert ran.ends() == {key(i): ("failed", bad[i][1]) if i in bad else DONE for i in range(1, 31)}
    counts = status(Library(tmp_path / "library"))[Stage.FIT]
    assert (counts.done, counts.failed, counts.quarantined) == (24, 3, 3)
