"""Each item is in one state; a manifest counts more than all events; a start without heartbeats is dead after a while."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pegasus_ray.library import ledger
from pegasus_ray.library.ledger import (
    Attempt,
    LastEvents,
    StageCounts,
    failures,
    history,
    record,
    status,
    write_plan,
)
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import EventKind, Kind, PlannedItem, Provenance, Stage


def item(number: int, stage: Stage = Stage.FIT) -> PlannedItem:
    return PlannedItem(stage=stage, key=f"{number:016x}", subject=f"person {number}")


def set_aside(library: Library, number: int) -> None:
    message = "the worker died three times"
    record(library, item(number), EventKind.QUARANTINED, number=3, reason=Reason.WORKER_DIED, message=message)


@pytest.fixture(params=["folder", "memory"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Library:
    return Library(tmp_path / "lib" if request.param == "folder" else f"memory://{request.node.name}-{tmp_path.name}")


def test_an_item_goes_from_waiting_to_running_to_its_end(library: Library) -> None:
    assert status(library)[Stage.FIT] == StageCounts()
    write_plan(library, [item(1), item(2), item(3), item(4), item(5)])
    assert status(library)[Stage.FIT] == StageCounts(waiting=5)
    attempts = [Attempt(library, item(number)) for number in range(1, 5)]
    assert status(library)[Stage.FIT] == StageCounts(running=4, waiting=1)
    attempts[0].failed(Reason.NO_FACE, "no face; give another video")
    set_aside(library, 2)
    library.commit(Kind.AVATARS, item(3).key, {"a": b"1"}, Provenance())
    attempts[2].done()
    assert status(library)[Stage.FIT] == StageCounts(done=1, running=1, waiting=1, failed=1, quarantined=1)
    assert status(library)[Stage.SWAP] == StageCounts()
    assert [event.reason for event in failures(library)] == [Reason.NO_FACE, Reason.WORKER_DIED]
    assert failures(library)[0].subject == "person 1"
    assert failures(library)[0].seconds >= 0


def test_an_item_made_after_a_failure_does_not_count_as_failed(library: Library) -> None:
    Attempt(library, item(1)).failed(Reason.OUT_OF_MEMORY, "too large")
    library.commit(Kind.AVATARS, item(1).key, {"a": b"1"}, Provenance())
    assert failures(library) == []
    assert status(library)[Stage.FIT] == StageCounts(done=1)


def test_items_that_need_a_failed_one_are_not_waiting(library: Library) -> None:
    track = PlannedItem(stage=Stage.TRACK, key=f"{1:016x}")
    fit = PlannedItem(stage=Stage.FIT, key=f"{2:016x}", needs=(track.key,))
    swap = PlannedItem(stage=Stage.SWAP, key=f"{3:016x}", needs=(fit.key,))
    write_plan(library, [track, fit, swap])
    assert status(library)[Stage.SWAP] == StageCounts(waiting=1)
    Attempt(library, track).failed(Reason.NO_FACE, "no face; give another video")
    counts = status(library)
    assert counts[Stage.TRACK] == StageCounts(failed=1)
    assert counts[Stage.FIT] == counts[Stage.SWAP] == StageCounts()
    library.commit(Kind.TRACKS, track.key, {"a": b"1"}, Provenance())
    assert status(library)[Stage.FIT] == status(library)[Stage.SWAP] == StageCounts(waiting=1)


def test_quarantine_lasts_until_release(library: Library) -> None:
    assert LastEvents(library).quarantine_of(Stage.FIT, item(1).key) is None
    Attempt(library, item(1), number=3).failed(Reason.WORKER_DIED, "died")
    set_aside(library, 1)
    event = LastEvents(library).quarantine_of(Stage.FIT, item(1).key)
    assert event is not None
    assert (event.reason, event.attempt) == (Reason.WORKER_DIED, 3)
    ledger.release(library, item(1))
    assert LastEvents(library).quarantine_of(Stage.FIT, item(1).key) is None
    assert status(library)[Stage.FIT] == StageCounts(waiting=1)


def test_a_start_without_heartbeats_is_dead_and_a_beat_revives_it(tmp_path: Path) -> None:
    library = Library(tmp_path)
    attempt = Attempt(library, item(1))
    (path,) = (tmp_path / "ledger" / "fit").iterdir()
    long_ago = time.time() - ledger.DEAD_AFTER_SECONDS - 10
    os.utime(path, (long_ago, long_ago))
    assert status(library)[Stage.FIT] == StageCounts(waiting=1)
    attempt.beat()
    assert status(library)[Stage.FIT] == StageCounts(waiting=1), "too soon for a beat: nothing is written"
    attempt._last_beat -= ledger.HEARTBEAT_SECONDS
    attempt.beat()
    assert status(library)[Stage.FIT] == StageCounts(running=1)
    assert len(list((tmp_path / "ledger" / "fit").iterdir())) == 1


def test_history_keeps_all_and_names_no_machine(library: Library) -> None:
    for number in (1, 2):
        attempt = Attempt(library, item(1), number=number)
        attempt.failed(Reason.WORKER_DIED, "died")
    events = list(history(library, Stage.FIT))
    assert [(event.attempt, event.event) for event in events] == [
        (1, EventKind.STARTED),
        (1, EventKind.FAILED),
        (2, EventKind.STARTED),
        (2, EventKind.FAILED),
    ]
    assert os.uname().nodename not in events[0].model_dump_json()
