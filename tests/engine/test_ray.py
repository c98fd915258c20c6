"""Invariants on Ray: those of inline runs, and a worker's death costs its own job one try and no other job any."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.executor import executor
from pegasus_ray.engine.ray_executor import LANES, RayExecutor
from pegasus_ray.jobs.work import Event, Outcome
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, Kind, Stage
from tests.engine.fakes import FakeJob, FakeSwapJob, key, status
from tests.jobs import small

pytestmark = pytest.mark.usefixtures("cluster")


def run(
    library: Library, *jobs: FakeJob, attempts: int = 2, workers: int = 2
) -> tuple[dict[str, Outcome], list[Event]]:
    events: list[Event] = []
    config = EngineConfig(workers=workers, attempts=attempts)
    outcomes = RayExecutor(Catalogue(library), config).run(jobs, events.append)
    assert len({outcome.key for outcome in outcomes}) == len(outcomes)
    assert sum(event.outcome is not None for event in events) == len(outcomes)
    return {outcome.key: outcome for outcome in outcomes}, events


def test_actors_do_all_name_what_fails_and_survive_the_death_of_workers(tmp_path: Path) -> None:
    library = Library(tmp_path)
    jobs = [
        FakeJob(key=key(2), needs=(key(1),)),
        FakeJob(key=key(1), stage=Stage.TRACK),
        FakeJob(key=key(3), behaviour="fail"),
        FakeJob(key=key(4), behaviour="resume"),
        FakeJob(key=key(5), behaviour="die always"),
        FakeJob(key=key(6), behaviour="hungry"),
        FakeJob(key=key(8), needs=(key(5),)),
    ]
    outcomes, _ = run(library, *jobs)
    assert {name: (outcome.status, outcome.reason) for name, outcome in outcomes.items()} == {
        key(1): ("done", None),
        key(2): ("done", None),
        key(3): ("failed", Reason.NOT_A_VIDEO),
        key(4): ("done", None),
        key(5): ("failed", Reason.WORKER_DIED),
        key(6): ("done", None),
    }
    assert outcomes[key(4)].summary["resumed"] == 1
    assert outcomes[key(6)].summary["batch"] == 1
    counts = status(library)[Stage.FIT]
    assert (counts.done, counts.failed, counts.quarantined, counts.waiting) == (
        3,
        1,
        1,
        0,
    )  # what needs a failed one does not wait
    deadly = [event for event in Ledger(library).history if event.key == key(5)]
    assert [event.attempt for event in deadly if event.event is EventKind.STARTED] == [1, 2]
    again, _ = run(library, *(job for job in jobs if job.key != key(3)))
    assert {outcome.status for name, outcome in again.items() if name != key(5)} == {"skipped"}
    assert again[key(5)].reason is Reason.WORKER_DIED
    assert len([event for event in Ledger(library).history if event.key == key(5)]) == len(deadly), "not tried"


def test_swaps_fan_out_and_a_bad_shard_costs_only_its_swap(tmp_path: Path) -> None:
    library = Library(tmp_path)
    jobs = [FakeSwapJob(key=key(1)), FakeSwapJob(key=key(2), bad_frame=3), FakeSwapJob(key=key(3), frames=4)]
    jobs[0].make(library, jobs[0].shards(library)[1])  # what a killed run left
    outcomes, _ = run(library, *jobs)
    assert {name: (outcome.status, outcome.reason) for name, outcome in outcomes.items()} == {
        key(1): ("done", None),
        key(2): ("failed", Reason.MISSING_ATTRIBUTE),
        key(3): ("done", None),
    }
    assert [entry.key for entry in Catalogue(library).entries(Kind.SWAPS)] == [key(1), key(3)]
    assert not list((tmp_path / "ledger").glob("marks*"))


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_deadly_shard_is_given_up_and_the_rest_is_made(tmp_path: Path) -> None:
    library = Library(tmp_path)
    outcomes, _ = run(library, FakeSwapJob(key=key(1), deadly_frame=2), FakeSwapJob(key=key(2)))
    assert outcomes[key(1)].reason is Reason.WORKER_DIED
    assert outcomes[key(2)].status == "done"
    assert status(library)[Stage.SWAP].quarantined == 1


def test_train_makes_a_model(tmp_path: Path) -> None:
    library = Library(tmp_path)
    outcomes, _ = run(library, FakeJob(key=key(1), stage=Stage.PERSONALIZE))
    assert outcomes[key(1)].status == "done"
    assert library.exists(Kind.MODELS, key(1))
    assert not (tmp_path / "checkpoints" / f"personalize-{key(1)}").exists()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_train_resumes_from_its_checkpoint_and_names_what_fails(tmp_path: Path) -> None:
    library = Library(tmp_path)
    outcomes, _ = run(
        library,
        FakeJob(key=key(1), stage=Stage.PERSONALIZE, behaviour="patient resume"),
        FakeJob(key=key(2), stage=Stage.PERSONALIZE, behaviour="fail"),
    )
    assert outcomes[key(1)].status == "done"
    assert outcomes[key(1)].summary["resumed"] == 1
    assert outcomes[key(2)].reason is Reason.NOT_A_VIDEO


def test_jobs_are_small_and_memory_is_no_place_for_workers() -> None:
    assert len(pickle.dumps(FakeJob(key=key(1)))) < 1000
    with pytest.raises(PegasusError) as caught:
        executor(Catalogue(Library("memory://x")), EngineConfig(kind="ray"))
    assert caught.value.reason is Reason.BAD_LIBRARY


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_makes_the_same_bytes_as_inline(tmp_path: Path) -> None:
    here, there = Library(tmp_path / "inline"), Library(tmp_path / "ray")
    for library in (here, there):
        fits = small.stock(library)
    swaps = small.swaps(fits)
    trained = small.model(fits, swaps)
    fields = small.field_model(fits, swaps)
    jobs = [*fits, *swaps, trained, fields, *small.transfers(fits, trained)]
    for library, engine in ((here, "inline"), (there, "ray")):
        outcomes = executor(Catalogue(library), EngineConfig(kind=engine)).run(jobs, lambda event: None)
        assert [outcome.status for outcome in outcomes] == ["done"] * len(jobs)
    for job in jobs:
        assert here.expect(job.stage.kind, job.key) == there.expect(job.stage.kind, job.key)


def test_every_stage_has_its_lane() -> None:
    assert sorted(stage for lane in LANES for stage in lane.stages) == sorted(Stage)
