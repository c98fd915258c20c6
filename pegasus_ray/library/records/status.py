"""Reading the ledger: how many items are in which state, what failed, and what is quarantined."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import DEAD_AFTER_SECONDS, END_EVENTS, EVENTS, PLANS
from pegasus_ray.library.records.segments import Segments
from pegasus_ray.schemas.manifests import EventKind, Kind, LedgerEvent, Plan, PlannedItem, Stage

_BAD = (EventKind.FAILED, EventKind.QUARANTINED)
_RANK_OF_VERDICTS = {EventKind.QUARANTINED: 2, EventKind.RELEASED: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class StageCounts:
    """How many items of a stage are in each state."""

    done: int = 0
    stale: int = 0  # results of an earlier version of the stage, which a run makes anew
    smaller: int = 0  # results made smaller for want of memory, which a run makes anew where there is room
    running: int = 0
    waiting: int = 0
    failed: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Last:
    """The last event of an item."""

    event: LedgerEvent
    age: float  # seconds since the segment was written that holds it

    @property
    def runs(self) -> bool:
        """Whether it is a start whose process is alive."""
        return self.event.event is EventKind.STARTED and self.age < DEAD_AFTER_SECONDS


class Ledger:
    """The events of a library, read once, when first asked for."""

    def __init__(self, library: Library) -> None:
        self._library = library

    @cached_property
    def history(self) -> Sequence[LedgerEvent]:
        """All events that are kept, in order of time."""
        return [last.event for last in self._seen]

    @cached_property
    def last(self) -> Mapping[tuple[Stage, str], _Last]:
        """The last event of each item, by stage and key."""
        return {(seen.event.stage, seen.event.key): seen for seen in self._seen}

    def quarantine_of(self, stage: Stage, key: str) -> LedgerEvent | None:
        """The event that quarantined an item; None if it is not quarantined.

        Only a release ends a quarantine, so that no other event can, whose machine has another time.
        """
        event = self._verdicts.get((stage, key))
        return event if event is not None and event.event is EventKind.QUARANTINED else None

    def quarantined(self, catalogue: Catalogue) -> Sequence[LedgerEvent]:
        """The events that quarantined the items that are quarantined and have not been made since, oldest first."""
        return [
            event
            for (stage, key), event in self._verdicts.items()
            if event.event is EventKind.QUARANTINED and catalogue.get(stage.kind, key) is None
        ]

    @cached_property
    def _verdicts(self) -> Mapping[tuple[Stage, str], LedgerEvent]:
        """The last quarantine or release of each item that had one."""
        return {(event.stage, event.key): event for event in self.history if event.event in _RANK_OF_VERDICTS}

    def failures(self, catalogue: Catalogue) -> Sequence[LedgerEvent]:
        """The last event of each item that failed or was quarantined, oldest first.

        What has been made since, if only smaller for want of memory, is left out.
        """
        bad = [last.event for last in self.last.values() if last.event.event in _BAD]
        return sorted(
            (event for event in bad if not _stands(catalogue, event.stage.kind, event.key)),
            key=lambda event: event.time,
        )

    @cached_property
    def planned(self) -> Mapping[str, PlannedItem]:
        """The items of all plans by key; a later plan overrides an earlier one."""
        plans = (plan for _, some in Segments(self._library, PLANS, Plan).read() for plan in some)
        return {item.key: item for plan in sorted(plans, key=lambda plan: plan.time) for item in plan.items}

    @cached_property
    def _seen(self) -> Sequence[_Last]:
        """Events in order, each once, with the age of the youngest segment that holds it."""
        ages: dict[LedgerEvent, float] = {}
        for segment, events in Segments(self._library, EVENTS, LedgerEvent).read():
            for event in events:
                ages[event] = min(segment.age, ages.get(event, segment.age))
        return [_Last(event=event, age=ages[event]) for event in sorted(ages, key=_in_order)]


def status(catalogue: Catalogue, ledger: Ledger) -> dict[Stage, StageCounts]:
    """How many items of each stage are done, running, waiting, failed and quarantined.

    An item whose result is there is done. For any other, its last event decides: it is running after a start with a recent
    heartbeat, failed after a failure, quarantined after a quarantine. Any other item that is known from a plan or an event
    is waiting. Items that need a failed or quarantined one are not counted: the failure is, in its own stage.
    """
    there = {stage: _standing(catalogue, stage.kind) for stage in Stage}
    blocked = _blocked(ledger, {key for keys in there.values() for key in keys})
    counts = {}
    for stage in Stage:
        made = catalogue.entries(stage.kind)
        stale = [entry for entry in made if entry.is_stale]
        last = {key: last for (of, key), last in ledger.last.items() if of is stage and key not in there[stage]}
        known = {key for key, item in ledger.planned.items() if item.stage is stage} | last.keys()
        running = {key for key, found in last.items() if found.runs}
        ended = {event: {key for key, found in last.items() if found.event.event is event} for event in _BAD}
        counts[stage] = StageCounts(
            done=len(made) - len(stale),
            stale=len(stale),
            smaller=len({e.instead_of for e in made if e.instead_of} - {entry.key for entry in made}),
            running=len(running),
            waiting=len(
                known - there[stage] - running - ended[EventKind.FAILED] - ended[EventKind.QUARANTINED] - blocked
            ),
            failed=len(ended[EventKind.FAILED]),
            quarantined=len(ended[EventKind.QUARANTINED]),
        )
    return counts


def _stands(catalogue: Catalogue, kind: Kind, key: str) -> bool:
    """Whether a result is there, or a smaller one in its place."""
    return catalogue.get(kind, key) is not None or catalogue.instead_of(kind, key) is not None


def _standing(catalogue: Catalogue, kind: Kind) -> set[str]:
    """The keys of the results that are there, or in whose place there is a smaller one."""
    entries = catalogue.entries(kind)
    return {entry.key for entry in entries} | {entry.instead_of for entry in entries if entry.instead_of}


def _in_order(event: LedgerEvent) -> tuple[float, int, int]:
    """Sort key: by time; at equal times by attempt, an end after its start, and then what was decided about it."""
    rank = _RANK_OF_VERDICTS.get(event.event, int(event.event in END_EVENTS))
    return event.time, event.attempt, rank


def _blocked(ledger: Ledger, done: set[str]) -> set[str]:
    """Keys of planned items that need, directly or through others, an item that failed or was quarantined."""
    failed = {key for (_, key), last in ledger.last.items() if last.event.event in _BAD and key not in done}
    needed_by: dict[str, list[str]] = {}
    for key, item in ledger.planned.items():
        for need in item.needs:
            needed_by.setdefault(need, []).append(key)
    return _reached(failed, needed_by) - failed


def _reached(start: Iterable[str], following: Mapping[str, Iterable[str]]) -> set[str]:
    """All that can be reached from some keys, with themselves."""
    reached, open_ones = set(start), list(start)
    while open_ones:
        more = [key for key in following.get(open_ones.pop(), ()) if key not in reached]
        reached.update(more)
        open_ones += more
    return reached
