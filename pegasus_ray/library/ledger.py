"""The ledger: what was tried, what failed, what is set aside. One small file an event, never changed, no database.

A file's name says stage, key, time, attempt and event, so that counting needs no reading. The one exception to "never
changed" is the heartbeat: the file of a start is written again while its attempt lives, and its age tells the living
from the dead.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import EventKind, LedgerEvent, Plan, PlannedItem, Stage

LEDGER = "ledger"
BEAT = 30.0
"""Seconds between heartbeats."""
STALE = 4 * BEAT
"""Seconds without a heartbeat after which an attempt counts as dead."""

_ENDS = (EventKind.DONE, EventKind.FAILED, EventKind.QUARANTINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCounts:
    """How many items of a stage stand where."""

    done: int = 0
    running: int = 0
    waiting: int = 0
    failed: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """An event as its file's name tells it."""

    path: str
    key: str
    microseconds: int
    attempt: int
    event: EventKind
    age: float  # seconds


class Attempt:
    """One try at an item, written down: its start at once, its end by `done` or `failed`."""

    def __init__(self, library: Library, item: PlannedItem, *, number: int = 1) -> None:
        self.library = library
        self.item = item
        self.number = number
        self.began = time.monotonic()
        self._event = _event(item, EventKind.STARTED, number)
        self._path = _path(self._event)
        self._beaten = self.began
        _write(library, self._event, self._path)

    def beat(self) -> None:
        """Say that the attempt lives. Cheap: call it as often as you like."""
        now = time.monotonic()
        if now - self._beaten >= BEAT:
            self._beaten = now
            _write(self.library, self._event, self._path)

    def done(self) -> None:
        """The item is made."""
        self._end(EventKind.DONE, None, "")

    def failed(self, reason: Reason, message: str) -> None:
        """The attempt failed; the next run tries again."""
        self._end(EventKind.FAILED, reason, message)

    @property
    def seconds(self) -> float:
        """Since the start."""
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
    """Write down one event: what a driver says about an attempt that can no longer speak for itself."""
    made = _event(item, event, number)
    facts = {"seconds": seconds, "reason": reason, "message": message}
    _write(library, made.model_copy(update=facts), _path(made))


def write_plan(library: Library, items: Iterable[PlannedItem]) -> Plan:
    """Write down what a run means to do, so that `status` knows what waits."""
    plan = Plan(time=time.time(), items=tuple(items))
    name = f"{int(plan.time * 1000):013d}-{secrets.token_hex(4)}.json"
    library.storage.put(f"{LEDGER}/plans/{name}", plan.model_dump_json().encode())
    return plan


def release(library: Library, item: PlannedItem) -> None:
    """Let a run try an item again that was set aside."""
    record(library, item, EventKind.RELEASED, number=0)


def status(library: Library) -> dict[Stage, StageCounts]:
    """Where the items of each stage stand.

    Done is what has a valid manifest. Of the rest, the last event of each decides: begun and alive is running, failed
    and quarantined are what they say. What is planned and none of these is waiting, unless what it needs has failed:
    that is counted where it failed, and nobody waits for it.
    """
    planned = _planned(library)
    all_done = {stage: set(library.list(stage.kind)) for stage in Stage}
    all_last = {stage: _last_lines(library, stage) for stage in Stage}
    lost = _lost(planned, all_done, all_last)
    counts = {}
    for stage, done in all_done.items():
        last = {key: line for key, line in all_last[stage].items() if key not in done}
        running = {key for key, line in last.items() if line.event is EventKind.STARTED and line.age < STALE}
        failed = {key for key, line in last.items() if line.event is EventKind.FAILED}
        quarantined = {key for key, line in last.items() if line.event is EventKind.QUARANTINED}
        known = {item.key for item in planned.values() if item.stage is stage} | last.keys()
        counts[stage] = StageCounts(
            done=len(done),
            running=len(running),
            waiting=len(known - done - running - failed - quarantined - lost),
            failed=len(failed),
            quarantined=len(quarantined),
        )
    return counts


def failures(library: Library) -> list[LedgerEvent]:
    """The last event of each item that failed or was set aside and has not been made since, oldest first."""
    found = []
    for stage in Stage:
        for key, line in _last_lines(library, stage).items():
            bad = line.event in (EventKind.FAILED, EventKind.QUARANTINED)
            event = _read(library, line) if bad and not library.exists(stage.kind, key) else None
            if event is not None:
                found.append(event)
    return sorted(found, key=lambda event: event.time)


def quarantine_of(library: Library, stage: Stage, key: str) -> LedgerEvent | None:
    """Why an item is set aside; None if it is not."""
    line = _last_lines(library, stage).get(key)
    return _read(library, line) if line is not None and line.event is EventKind.QUARANTINED else None


def history(library: Library, stage: Stage) -> Iterator[LedgerEvent]:
    """All events of a stage in order of time."""
    for line in sorted(_lines(library, stage), key=_order):
        event = _read(library, line)
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
    library.storage.put(path, event.model_dump_json().encode())


def _read(library: Library, line: _Line) -> LedgerEvent | None:
    try:
        return LedgerEvent.model_validate_json(library.storage.read(line.path))
    except (FileNotFoundError, ValidationError):
        return None


def _lines(library: Library, stage: Stage) -> Iterator[_Line]:
    folder = f"{LEDGER}/{stage}"
    for entry in library.storage.files(folder):
        fields = entry.name.removesuffix(".json").split("-")
        if len(fields) == 5:
            key, moment, attempt, event, _ = fields
            yield _Line(
                path=f"{folder}/{entry.name}",
                key=key,
                microseconds=int(moment),
                attempt=int(attempt),
                event=EventKind(event),
                age=entry.age,
            )


def _order(line: _Line) -> tuple[int, int, bool]:
    """By time; where the clock did not tick, by attempt, and its end after its start."""
    return line.microseconds, line.attempt, line.event in _ENDS


def _last_lines(library: Library, stage: Stage) -> dict[str, _Line]:
    return {line.key: line for line in sorted(_lines(library, stage), key=_order)}


def _planned(library: Library) -> dict[str, PlannedItem]:
    """What runs mean to do, by key; a later plan's word counts."""
    planned: dict[str, PlannedItem] = {}
    for entry in sorted(library.storage.files(f"{LEDGER}/plans"), key=lambda entry: entry.name):
        if entry.name.endswith(".json"):
            plan = Plan.model_validate_json(library.storage.read(f"{LEDGER}/plans/{entry.name}"))
            planned |= {item.key: item for item in plan.items}
    return planned


def _lost(
    planned: Mapping[str, PlannedItem],
    done: Mapping[Stage, set[str]],
    last: Mapping[Stage, Mapping[str, _Line]],
) -> set[str]:
    """Keys of planned items that need one that failed or was set aside, or need such an item in turn."""
    bad = (EventKind.FAILED, EventKind.QUARANTINED)
    lost = {key for stage in Stage for key, line in last[stage].items() if line.event in bad and key not in done[stage]}
    failed = set(lost)
    while True:
        more = {key for key, item in planned.items() if key not in lost and lost.intersection(item.needs)}
        if not more:
            return lost - failed
        lost |= more
