"""The ledger: what was tried, what failed, and what is quarantined. Each event is a small file; there is no database.

A file's name says stage, key, time, attempt and event, so that events can be counted without reading files. Files are not
changed once written, with one exception, the heartbeat: the file of a start is written again while the attempt goes on. An
attempt whose start is an old file has therefore died.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from pydantic import ValidationError

from pegasus_ray.library.library import Library, is_stale
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import EventKind, LedgerEvent, Plan, PlannedItem, Stage

LEDGER = "ledger"  # folder in the library
MARKS_PREFIX = "marks-"  # of the folders in it in which a run marks the shards that it tries
HEARTBEAT_SECONDS = 30.0
"""Seconds between heartbeats."""
DEAD_AFTER_SECONDS = 4 * HEARTBEAT_SECONDS
"""Seconds without a heartbeat after which an attempt counts as dead."""

_END_EVENTS = (EventKind.DONE, EventKind.FAILED, EventKind.QUARANTINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCounts:
    """How many items of a stage are in each state."""

    done: int = 0
    stale: int = 0  # results of an earlier version of the stage, which a run makes anew
    running: int = 0
    waiting: int = 0
    failed: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _EventFile:
    """What can be read from the name and the age of an event's file."""

    path: str
    key: str
    microseconds: int
    attempt: int
    event: EventKind
    age: float  # seconds


class Attempt:
    """One attempt at an item. Its start is recorded at once, and its end by `done` or `failed`."""

    def __init__(self, library: Library, item: PlannedItem, *, number: int = 1) -> None:
        self.library = library
        self.item = item
        self.number = number
        self.began = time.monotonic()
        self._event = _event(item, EventKind.STARTED, number)
        self._path = _path(self._event)
        self._last_beat = self.began
        _write(library, self._event, self._path)

    def beat(self) -> None:
        """Record that the attempt goes on. It may be called often: it writes at most once in `HEARTBEAT_SECONDS`."""
        now = time.monotonic()
        if now - self._last_beat >= HEARTBEAT_SECONDS:
            self._last_beat = now
            _write(self.library, self._event, self._path)

    def done(self) -> None:
        """Record that the item is made."""
        self._end(EventKind.DONE, None, "")

    def failed(self, reason: Reason, message: str) -> None:
        """Record that the attempt failed; the next run tries again."""
        self._end(EventKind.FAILED, reason, message)

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return time.monotonic() - self.began

    def _end(self, event: EventKind, reason: Reason | None, message: str) -> None:
        record(self.library, self.item, event, number=self.number, reason=reason, message=message, seconds=self.seconds)


def record(
    library: Library,
    item: PlannedItem,
    event: EventKind,
    *,
    number: int = 1,
    reason: Reason | None = None,
    message: str = "",
    seconds: float = 0.0,
) -> None:
    """Record one event. Drivers use it directly to report on an attempt whose worker has died."""
    made = _event(item, event, number)
    facts = {"seconds": seconds, "reason": reason, "message": message}
    _write(library, made.model_copy(update=facts), _path(made))


def write_plan(library: Library, items: Iterable[PlannedItem]) -> Plan:
    """Record what a run is going to do, so that `status` knows which items wait."""
    plan = Plan(time=time.time(), items=tuple(items))
    name = f"{int(plan.time * 1000):013d}-{secrets.token_hex(4)}.json"
    library.put(f"{LEDGER}/plans/{name}", plan.model_dump_json().encode())
    return plan


def release(library: Library, item: PlannedItem) -> None:
    """Let the next run try a quarantined item again."""
    record(library, item, EventKind.RELEASED, number=0)


def status(library: Library) -> dict[Stage, StageCounts]:
    """How many items of each stage are done, running, waiting, failed and quarantined.

    An item with a valid manifest is done. For any other, its last event decides: it is running after a start with a recent
    heartbeat, failed after a failure, quarantined after a quarantine. Any other item that is known from a plan or an event
    is waiting. Items that need a failed or quarantined one are not counted: the failure is, in its own stage.
    """
    planned = _planned_items(library)
    made = {stage: list(library.manifests(stage.kind)) for stage in Stage}
    all_done = {stage: {m.key for m in found if not is_stale(m)} for stage, found in made.items()}
    all_last = {stage: _last_events(library, stage) for stage in Stage}
    blocked = _blocked(planned, all_done, all_last)
    counts = {}
    for stage, done in all_done.items():
        last = {key: file for key, file in all_last[stage].items() if key not in done}
        started = {key: file for key, file in last.items() if file.event is EventKind.STARTED}
        running = {key for key, file in started.items() if file.age < DEAD_AFTER_SECONDS}
        failed = {key for key, file in last.items() if file.event is EventKind.FAILED}
        quarantined = {key for key, file in last.items() if file.event is EventKind.QUARANTINED}
        known = {item.key for item in planned.values() if item.stage is stage} | last.keys()
        counts[stage] = StageCounts(
            done=len(done),
            stale=len(made[stage]) - len(done),
            running=len(running),
            waiting=len(known - done - running - failed - quarantined - blocked),
            failed=len(failed),
            quarantined=len(quarantined),
        )
    return counts


def failures(library: Library) -> list[LedgerEvent]:
    """The last event of each item that failed or was quarantined and has not been made since, oldest first."""
    found = []
    for stage in Stage:
        for key, file in _last_events(library, stage).items():
            bad = file.event in (EventKind.FAILED, EventKind.QUARANTINED)
            event = _read(library, file) if bad and not library.exists(stage.kind, key) else None
            if event is not None:
                found.append(event)
    return sorted(found, key=lambda event: event.time)


class LastEvents:
    """The last event of each item. A stage's events are listed once, when first asked for, however many items follow."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._files: dict[Stage, Mapping[str, _EventFile]] = {}

    def quarantine_of(self, stage: Stage, key: str) -> LedgerEvent | None:
        """The event that quarantined an item; None if it was not quarantined when the stage was listed."""
        if stage not in self._files:
            self._files[stage] = _last_events(self._library, stage)
        file = self._files[stage].get(key)
        return _read(self._library, file) if file is not None and file.event is EventKind.QUARANTINED else None


def history(library: Library, stage: Stage) -> Iterator[LedgerEvent]:
    """All events of a stage in order of time."""
    for file in sorted(_event_files(library, stage), key=_in_order):
        event = _read(library, file)
        if event is not None:
            yield event


def _event(item: PlannedItem, event: EventKind, attempt: int) -> LedgerEvent:
    return LedgerEvent(
        event=event, stage=item.stage, key=item.key, subject=item.subject, attempt=attempt, time=time.time()
    )


def _path(event: LedgerEvent) -> str:
    moment = f"{int(event.time * 1e6):016d}"
    name = f"{event.key}-{moment}-{event.attempt:03d}-{event.event}-{secrets.token_hex(4)}.json"
    return f"{LEDGER}/{event.stage}/{name}"


def _write(library: Library, event: LedgerEvent, path: str) -> None:
    library.put(path, event.model_dump_json().encode())


def _read(library: Library, file: _EventFile) -> LedgerEvent | None:
    """The event in a file; None if the file is gone or invalid."""
    try:
        return LedgerEvent.model_validate_json(library.storage.read(file.path))
    except (FileNotFoundError, ValidationError):
        return None


def _event_files(library: Library, stage: Stage) -> Iterator[_EventFile]:
    folder = f"{LEDGER}/{stage}"
    for entry in library.storage.files(folder):
        fields = entry.name.removesuffix(".json").split("-")
        if len(fields) == 5 and fields[3] in tuple(EventKind) and fields[1].isdigit() and fields[2].isdigit():
            key, moment, attempt, event, _ = fields
            yield _EventFile(
                path=f"{folder}/{entry.name}",
                key=key,
                microseconds=int(moment),
                attempt=int(attempt),
                event=EventKind(event),
                age=entry.age,
            )


def _in_order(file: _EventFile) -> tuple[int, int, bool]:
    """Sort key: by time; at equal times by attempt, and an end after its start."""
    return file.microseconds, file.attempt, file.event in _END_EVENTS


def _last_events(library: Library, stage: Stage) -> dict[str, _EventFile]:
    return {file.key: file for file in sorted(_event_files(library, stage), key=_in_order)}


def _planned_items(library: Library) -> dict[str, PlannedItem]:
    """The items of all plans by key; a later plan overrides an earlier one."""
    planned: dict[str, PlannedItem] = {}
    for entry in sorted(library.storage.files(f"{LEDGER}/plans"), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            with suppress(FileNotFoundError, ValidationError):  # of another release, or cut off
                plan = Plan.model_validate_json(library.storage.read(f"{LEDGER}/plans/{entry.name}"))
                planned |= {item.key: item for item in plan.items}
    return planned


def _blocked(
    planned: Mapping[str, PlannedItem],
    done: Mapping[Stage, set[str]],
    last: Mapping[Stage, Mapping[str, _EventFile]],
) -> set[str]:
    """Keys of planned items that need, directly or through others, an item that failed or was quarantined."""
    bad = (EventKind.FAILED, EventKind.QUARANTINED)
    failed = {
        key for stage in Stage for key, file in last[stage].items() if file.event in bad and key not in done[stage]
    }
    unreachable = set(failed)
    while True:
        more = {key for key, item in planned.items() if key not in unreachable and unreachable.intersection(item.needs)}
        if not more:
            return unreachable - failed
        unreachable |= more
