"""Invariants of a run: each job ends once, a failure is named and stops only the jobs that need it, and a second run does
nothing again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pegasus_ray.engine.config import EngineConfig, StageConfig
from pegasus_ray.engine.inline import InlineExecutor
from pegasus_ray.jobs.work import Event, Outcome
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import release
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Stage
from tests.engine.fakes import FakeJob, FakeSwapJob, key, status


@pytest.fixture(params=["folder", "memory"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Library:
    return Library(tmp_path / "lib" if request.param == "folder" else f"memory://{request.node.name}-{tmp_path.name}")


def run(library: Library, *jobs: FakeJob) -> tuple[dict[str, Outcome], list[Event]]:
    events: list[Event] = []
    outcomes = InlineExecutor(Catalogue(library)).run(jobs, events.append)
    assert len({outcome.key for outcome in outcomes}) == len(outcomes)
    return {outcome.key: outcome for outcome in outcomes}, events


def test_all_done_and_the_second_run_skips(library: Library) -> None:
    jobs = [FakeJob(key=key(number)) for number in range(3)]
    first, events = run(library, *jobs)
    assert [outcome.status for outcome in first.values()] == ["done"] * 3
    assert library.keys(Kind.AVATARS) == [job.key for job in jobs]
    assert any(event.text == "half way" for event in events)
    assert sum(event.outcome is not None for event in events) == 3
    second, _ = run(library, *jobs)
    assert [outcome.status for outcome in second.values()] == ["skipped"] * 3
    assert status(library)[Stage.FIT].done == 3


@pytest.mark.parametrize(("behaviour", "reason"), [("fail", Reason.NOT_A_VIDEO), ("crash", Reason.INTERNAL)])
def test_one_fails_the_others_are_done(library: Library, behaviour: str, reason: Reason) -> None:
    outcomes, _ = run(library, FakeJob(key=key(1)), FakeJob(key=key(2), behaviour=behaviour), FakeJob(key=key(3)))
    assert outcomes[key(2)].reason is reason
    assert outcomes[key(2)].subject == "input 02"
    assert [outcomes[key(number)].status for number in (1, 3)] == ["done", "done"]
    counts = status(library)[Stage.FIT]
    assert (counts.done, counts.failed) == (2, 1)


def test_needs_come_first_and_their_failure_stops_only_those_that_need_them(library: Library) -> None:
    good = FakeJob(key=key(1), stage=Stage.TRACK)
    bad = FakeJob(key=key(2), stage=Stage.TRACK, behaviour="fail")
    fits = [FakeJob(key=key(number + 10), needs=(key(number),)) for number in (1, 2)]
    far = FakeJob(key=key(30), needs=(key(12),))
    outcomes, _ = run(library, far, *reversed(fits), good, bad)
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        key(1): "done",
        key(2): "failed",
        key(11): "done",
    }
    assert status(library)[Stage.FIT].waiting == 0, "a job whose need has failed does not wait"


def test_a_hungry_job_steps_down_and_a_hopeless_one_is_set_aside(library: Library) -> None:
    outcomes, _ = run(library, FakeJob(key=key(1), behaviour="hungry"))
    assert outcomes[key(1)].summary["batch"] == 1
    hopeless = FakeJob(key=key(2), behaviour="hungry", batch=3)
    outcomes, _ = run(library, hopeless)
    assert outcomes[key(2)].status == "done", "3 halves to 1"


def test_what_is_set_aside_stays_so_until_it_is_released(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(FakeJob, "smaller", lambda job: None)
        outcomes, _ = run(library, FakeJob(key=key(1), behaviour="hungry"))
    assert outcomes[key(1)].reason is Reason.OUT_OF_MEMORY
    assert status(library)[Stage.FIT].quarantined == 1
    job = FakeJob(key=key(1))
    outcomes, _ = run(library, job)
    assert outcomes[key(1)].status == "failed"
    assert "pegasus retry" in outcomes[key(1)].message
    release(library, Ledger(library).quarantine_of(job.stage, job.key))
    outcomes, _ = run(library, job)
    assert outcomes[key(1)].status == "done"


def test_checkpoints_stay_after_a_failure_and_go_after_success(tmp_path: Path) -> None:
    library = Library(tmp_path)
    behaviours = ("do", "fail", "fail late")
    run(library, *(FakeJob(key=key(number), behaviour=behaviour) for number, behaviour in enumerate(behaviours)))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [f"fit-{key(2)}"]


def test_swaps_run_whole(library: Library) -> None:
    outcomes, _ = run(library, FakeSwapJob(key=key(1)), FakeSwapJob(key=key(2), bad_frame=3))
    assert outcomes[key(1)].summary["frames"] == 6
    assert outcomes[key(2)].reason is Reason.MISSING_ATTRIBUTE


@pytest.mark.parametrize(
    "bad", [{"workers": -1}, {"cpus": 0}, {"gpus": 1.5}, {"attempts": 0}, {"swap": StageConfig(timeout_minutes=1)}]
)
def test_an_engine_that_cannot_be_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(PegasusError) as caught:
        EngineConfig(**bad)
    assert caught.value.reason is Reason.BAD_CONFIG
