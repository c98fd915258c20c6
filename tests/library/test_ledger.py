"""Each item is in one state; a manifest counts more than all events; a start without heartbeats is dead after a while."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pegasus_ray.library.library import Library
from pegasus_ray.library.records import ledger
from pegasus_ray.library.records import status as reading
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import Attempt, record, release, write_events, write_plan
from pegasus_ray.library.records.segments import Segments
from pegasus_ray.library.records.status import Ledger, StageCounts
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import EventKind, Kind, LedgerEvent, PlannedItem, Provenance, Stage


def item(number: int, stage: Stage = Stage.FIT) -> PlannedItem:
    return PlannedItem(stage=stage, key=f"{number:016x}", subject=f"person {number}")


def set_aside(library: Library, number: int) -> None:
    message = "the worker died three times"
    record(library, item(number), EventKind.QUARANTINED, number=3, reason=Reason.WORKER_DIED, message=message)


def status(library: Library) -> dict[Stage, StageCounts]:
    write_events(library)
    return reading.status(Catalogue(library), Ledger(library))


def failures(library: Library) -> list[LedgerEvent]:
    return list(Ledger(library).failures(Catalogue(library)))


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
    assert Ledger(library).quarantine_of(Stage.FIT, item(1).key) is None
    Attempt(library, item(1), number=3).failed(Reason.WORKER_DIED, "died")
    set_aside(library, 1)
    event = Ledger(library).quarantine_of(Stage.FIT, item(1).key)
    assert event is not None
    assert (event.reason, event.attempt) == (Reason.WORKER_DIED, 3)
    release(library, event)
    assert Ledger(library).quarantine_of(Stage.FIT, item(1).key) is None
    assert status(library)[Stage.FIT] == StageCounts(waiting=1)


def test_a_start_without_heartbeats_is_dead_and_a_beat_revives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = Library(tmp_path)
    attempt = Attempt(library, item(1))
    (path,) = (tmp_path / "ledger" / "events").iterdir()
    long_ago = time.time() - ledger.DEAD_AFTER_SECONDS - 10
    os.utime(path, (long_ago, long_ago))
    assert status(library)[Stage.FIT] == StageCounts(waiting=1)
    attempt.beat()
    assert status(library)[Stage.FIT] == StageCounts(waiting=1), "too soon for a beat: nothing is written"
    monkeypatch.setattr(ledger, "HEARTBEAT_SECONDS", 0.0)
    attempt.beat()
    assert status(library)[Stage.FIT] == StageCounts(running=1)
    assert len(list((tmp_path / "ledger" / "events").iterdir())) == 1


def test_a_process_writes_its_events_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path)
    for number in range(100):
        Attempt(library, item(number)).done()
    write_events(library)
    assert len(list((tmp_path / "ledger" / "events").iterdir())) == 1
    assert len(Ledger(library).history) == 200


def test_a_long_run_goes_on_in_a_new_segment_with_what_is_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "EVENTS_IN_SEGMENT", 10)
    monkeypatch.setattr(ledger, "WRITE_SECONDS", 0.0)
    library = Library(tmp_path)
    Attempt(library, item(999))
    for number in range(10):
        Attempt(library, item(number)).done()
    segments = sorted((tmp_path / "ledger" / "events").iterdir())
    assert len(segments) > 1
    for segment in segments[:-1]:
        os.utime(segment, (0, 0))
    assert status(library)[Stage.FIT].running == 1, "the open attempt is in the segment that is alive"
    assert len(Ledger(library).history) == 21, "an event that is in two segments counts once"


def test_old_segments_are_put_together_and_nothing_that_counts_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "EVENTS_IN_SEGMENT", 4)
    monkeypatch.setattr(ledger, "WRITE_SECONDS", 0.0)
    library, folder = Library(tmp_path), tmp_path / "ledger" / "events"
    for number in range(60):
        attempt = Attempt(library, item(number))
        if number % 2:
            attempt.done()
        else:
            attempt.failed(Reason.NO_FACE, "no face")
        write_plan(library, [item(number), item(1000 + number)])
    alive = Attempt(library, item(99))
    for segment in sorted(folder.iterdir())[:-1]:
        os.utime(segment, (0, 0))
    before = status(library), failures(library)
    assert before[0][Stage.FIT].failed == 30
    ledger.put_ledger_together(library, done={item(1001).key})
    assert len(list(folder.iterdir())) == 2, "all that are old, and the one that is alive"
    assert len(list((tmp_path / "ledger" / "plans").iterdir())) == 1
    after = status(library), failures(library)
    assert after[1] == before[1]
    assert after[0][Stage.FIT].waiting == before[0][Stage.FIT].waiting - 1, "what is done needs no plan"
    assert sum(event.event is EventKind.DONE for event in Ledger(library).history) == 30
    alive.done()


def test_two_that_put_together_at_once_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path)
    folder = tmp_path / "ledger" / "events"
    monkeypatch.setattr(ledger, "EVENTS_IN_SEGMENT", 1)
    monkeypatch.setattr(ledger, "WRITE_SECONDS", 0.0)
    for number in range(40):
        record(library, item(number), EventKind.FAILED, reason=Reason.NO_FACE)
    for segment in folder.iterdir():
        os.utime(segment, (0, 0))
    with ThreadPoolExecutor(4) as drivers:
        list(drivers.map(lambda _: ledger.put_ledger_together(library, done=()), range(4)))
    assert len(failures(library)) == 40


def test_a_quarantine_ends_by_a_release_alone_whatever_the_clocks_say(tmp_path: Path) -> None:
    library = Library(tmp_path)
    ahead = time.time() + 600
    set_aside(library, 1)
    ledger._journal(library).add(ledger._event(item(1), EventKind.STARTED, 1).model_copy(update={"time": ahead}))
    write_events(library)
    event = Ledger(library).quarantine_of(Stage.FIT, item(1).key)
    assert event is not None, "a start of a machine whose clock is ahead does not count"
    late = event.model_copy(update={"time": ahead})
    ledger._journal(library).add(late)
    release(library, late)
    assert Ledger(library).quarantine_of(Stage.FIT, item(1).key) is None


def test_thousands_of_open_attempts_stay_in_one_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "EVENTS_IN_SEGMENT", 10)
    monkeypatch.setattr(ledger, "HEARTBEAT_SECONDS", 0.0)
    library = Library(tmp_path)
    attempts = [Attempt(library, item(number)) for number in range(50)]
    for _ in range(5):
        attempts[0].beat()
    assert len(list((tmp_path / "ledger" / "events").iterdir())) == 1
    attempts[0].leave()
    write_events(library)
    attempts[1].beat()
    assert len(Ledger(library).history) == 49, "another process tells of the first from now on"


def test_what_a_process_writes_while_segments_are_put_together_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, folder = Library(tmp_path), tmp_path / "ledger" / "events"
    for number in range(20):
        monkeypatch.setattr(ledger, "_journals", {})
        Attempt(library, item(number)).failed(Reason.NO_FACE, "no face")
    for segment in folder.iterdir():
        os.utime(segment, (0, 0))
    read = Segments.read

    def read_and_let_write(segments: Segments, given=None):
        found = read(segments, given)
        set_aside(library, 19)
        return found

    monkeypatch.setattr(Segments, "read", read_and_let_write)
    ledger.put_ledger_together(library, done=())
    monkeypatch.setattr(Segments, "read", read)
    assert Ledger(library).quarantine_of(Stage.FIT, item(19).key) is not None


def test_a_ledger_that_cannot_be_written_ends_no_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path)
    attempt = Attempt(library, item(1))
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "HEARTBEAT_SECONDS", 0.0)
        patch.setattr(Library, "put", _refuse)
        attempt.beat()
        attempt.failed(Reason.NO_FACE, "no face")
    write_events(library)
    assert [event.event for event in Ledger(library).history] == [EventKind.STARTED, EventKind.FAILED]


def _refuse(*_: object, **__: object) -> None:
    raise OSError("the store hung up")


def test_history_keeps_all_and_names_no_machine(library: Library) -> None:
    for number in (1, 2):
        attempt = Attempt(library, item(1), number=number)
        attempt.failed(Reason.WORKER_DIED, "died")
    events = list(Ledger(library).history)
    assert [(event.attempt, event.event) for event in events] == [
        (1, EventKind.STARTED),
        (1, EventKind.FAILED),
        (2, EventKind.STARTED),
        (2, EventKind.FAILED),
    ]
    assert os.uname().nodename not in events[0].model_dump_json()
