"""Writing the ledger: what was tried, what failed, and what is quarantined. There is no database.

Each process writes segments of its own events (see `segments`), and its segment anew as events come, up to a thousand of them.
The time at which a segment was written last is the heartbeat of the attempts that are open in it: an attempt whose segment has
not been written for a while has died.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import Final

from pegasus_ray.library.library import Library
from pegasus_ray.library.records.segments import MANY, Segments
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, LedgerEvent, Plan, PlannedItem

LEDGER: Final = "ledger"  # folder in the library
EVENTS: Final = f"{LEDGER}/events"
PLANS: Final = f"{LEDGER}/plans"
MARKS_PREFIX: Final = "marks-"  # of the folders in it in which a run marks the shards that it tries
HEARTBEAT_SECONDS: Final = 30.0
"""Seconds between heartbeats."""
DEAD_AFTER_SECONDS: Final = 4 * HEARTBEAT_SECONDS
"""Seconds without a heartbeat after which an attempt counts as dead."""
OLD_SECONDS: Final = 3600.0
"""A segment that was not written for so long is put together with others."""
WRITE_SECONDS: Final = 1.0
"""Least time between two writes of events that can wait. Failures do not wait."""
EVENTS_IN_SEGMENT: Final = 1000
"""With more events than this a process begins its next segment."""
LARGE_SEGMENT_BYTES: Final = 8 << 20
"""A segment of this size stays as it is when others are put together."""

END_EVENTS: Final = (EventKind.DONE, EventKind.FAILED, EventKind.QUARANTINED)
_URGENT: Final = (EventKind.FAILED, EventKind.QUARANTINED, EventKind.RELEASED)


class Attempt:
    """One attempt at an item. Its start is recorded at once, and its end by `done` or `failed`."""

    def __init__(self, library: Library, item: PlannedItem, *, number: int = 1) -> None:
        self.library = library
        self.item = item
        self.number = number
        self.began = time.monotonic()
        self.start = _event(item, EventKind.STARTED, number)
        _journal(library).add(self.start)

    def leave(self) -> None:
        """Say no more about the attempt in this process: another one records how it ends."""
        _journal(self.library).drop(self.start)

    def beat(self) -> None:
        """Record that the attempt goes on. It may be called often, see `beat`."""
        beat(self.library)

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
    facts = {"seconds": seconds, "reason": reason, "message": message}
    _journal(library).add(_event(item, event, number).model_copy(update=facts))


def beat(library: Library) -> None:
    """Record that this process goes on, with all that it has begun. It writes at most once in `HEARTBEAT_SECONDS`."""
    _journal(library).beat()


def write_events(library: Library) -> None:
    """Write the events that were waiting, for instance at the end of a run."""
    _journal(library).write()


def write_plan(library: Library, items: Iterable[PlannedItem]) -> None:
    """Record what a run is going to do, so that `status` knows which items wait."""
    Segments(library, PLANS, Plan).write([Plan(time=time.time(), items=tuple(items))])


def release(library: Library, quarantined: LedgerEvent) -> None:
    """Let the next run try a quarantined item again. Errors as `Library.put`."""
    moment = max(time.time(), quarantined.time + 0.001)  # after it, also where another machine's clock is ahead
    update = {"event": EventKind.RELEASED, "time": moment, "reason": None, "message": "", "seconds": 0.0}
    _journal(library).add(quarantined.model_copy(update=update), at_once=True)


def put_ledger_together(library: Library, done: Collection[str]) -> None:
    """Put old segments of the ledger together, where there are many.

    What nobody needs is dropped: the starts of attempts that are over or dead, and from the plans what is done.

    Args:
        library: whose ledger it is.
        done: keys of results that are there.
    """
    events = Segments(library, EVENTS, LedgerEvent)
    old = [entry for entry in events.there() if entry.age > OLD_SECONDS]
    small = [entry for entry in old if entry.size < LARGE_SEGMENT_BYTES]
    if len(small) > MANY:
        found = events.read(small)
        ended = dict.fromkeys(e for _, some in found for e in some if e.event is not EventKind.STARTED)
        read = [entry for entry, _ in found]
        # A process that was quiet for so long may just have written on: then its segment stays.
        events.put_together(ended, [entry.name for entry in events.unchanged(read)])
    plans = Segments(library, PLANS, Plan)
    known = plans.there()
    if len(known) > MANY:
        seen = plans.read(known)
        items = {item.key: item for _, some in seen for plan in some for item in plan.items if item.key not in done}
        plans.put_together([Plan(time=time.time(), items=tuple(items.values()))], [entry.name for entry, _ in seen])


class _Journal:
    """The events of this process in one library, and the segment that they are written to."""

    def __init__(self, library: Library) -> None:
        self._segments = Segments(library, EVENTS, LedgerEvent, durable=False)  # a lost event is a lost comment
        self._lock = threading.Lock()
        self._events: list[LedgerEvent] = []
        self._name = ""
        self._written_at = float("-inf")
        self._waiting = False

    def add(self, event: LedgerEvent, *, at_once: bool = False) -> None:
        """Take an event up, and write it unless it can wait for others.

        An error in writing is passed over, since the ledger must not end what it tells of: the event waits for the next write.
        With `at_once` it is raised.
        """
        with self._lock:
            self._events.append(event)
            self._waiting = True
            if at_once:
                self._write()
            elif event.event in _URGENT or time.monotonic() - self._written_at >= WRITE_SECONDS:
                with suppress(PegasusError, OSError):
                    self._write()

    def drop(self, event: LedgerEvent) -> None:
        """Take an event out of the segment that is being written."""
        with self._lock, suppress(ValueError):
            self._events.remove(event)

    def beat(self) -> None:
        """Write the segment again if it was not written for `HEARTBEAT_SECONDS`; errors are passed over."""
        with self._lock, suppress(PegasusError, OSError):
            if time.monotonic() - self._written_at >= HEARTBEAT_SECONDS:
                self._write()

    def write(self) -> None:
        """Write the events that wait."""
        with self._lock:
            if self._waiting:
                self._write()

    def _write(self) -> None:
        self._name = self._segments.write(self._events, self._name)
        self._written_at, self._waiting = time.monotonic(), False
        if len(self._events) >= EVENTS_IN_SEGMENT:
            still_open = _open_attempts(self._events)
            if len(self._events) - len(still_open) >= EVENTS_IN_SEGMENT:
                self._events, self._name = still_open, ""


def _open_attempts(events: Iterable[LedgerEvent]) -> list[LedgerEvent]:
    """The starts among some events that have no end: they go on in the next segment, whose writing is their heartbeat."""
    started: dict[tuple[str, int], LedgerEvent] = {}
    for event in events:
        if event.event is EventKind.STARTED:
            started[event.key, event.attempt] = event
        else:
            started.pop((event.key, event.attempt), None)
    return list(started.values())


_journals: dict[tuple[int, str], _Journal] = {}  # by process and library: a forked process writes segments of its own
_journals_lock = threading.Lock()


def _journal(library: Library) -> _Journal:
    whose = os.getpid(), library.location
    with _journals_lock:
        if whose not in _journals:
            _journals[whose] = _Journal(library)
        return _journals[whose]


def _event(item: PlannedItem, event: EventKind, attempt: int) -> LedgerEvent:
    return LedgerEvent(
        event=event, stage=item.stage, key=item.key, subject=item.subject, attempt=attempt, time=time.time()
    )
