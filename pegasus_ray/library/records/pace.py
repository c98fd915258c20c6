"""How fast a run goes, and how long it may take, by what has been done lately."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pegasus_ray.library.records.status import StageCounts
from pegasus_ray.schemas.manifests import EventKind, LedgerEvent, Stage

WINDOW_SECONDS: Final = 900.0
"""What was done earlier says little about how fast it goes now."""
LEAST_DONE: Final = 2
"""Items that must be done before anything is said about the time that is left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast items of a stage are made, and how long those that wait or run will take at that rate."""

    a_minute: float
    minutes_left: tuple[float, float] | None  # from, to; None where too little was done to tell, or nothing is left


def paces(history: Sequence[LedgerEvent], counts: Mapping[Stage, StageCounts], now: float) -> dict[Stage, Pace]:
    """The pace of each stage.

    The time that is left has a spread: of n items that end at random, as many as n ± √n may have ended by chance.

    Args:
        history: events in order of time.
        counts: what is left to do.
        now: seconds since 1970.
    """
    lately = [event for event in history if now - event.time <= WINDOW_SECONDS]
    found = {}
    for stage in Stage:
        own = [event for event in lately if event.stage is stage]
        done = sum(event.event is EventKind.DONE for event in own)
        minutes = max((now - own[0].time) / 60, 1 / 60) if own else 1.0
        left = counts[stage].waiting + counts[stage].running
        spread = None
        if left and done >= LEAST_DONE:
            spread = (left * minutes / (done + math.sqrt(done)), left * minutes / (done - math.sqrt(done)))
        found[stage] = Pace(a_minute=done / minutes, minutes_left=spread)
    return found


def hours_of_work(history: Sequence[LedgerEvent], stage: Stage, items: int) -> tuple[float, float] | None:
    """How many hours one worker needs for some more items of a stage, from and to; None if none was made yet here.

    It is what such items took so far: their mean, give or take its standard error, which is small only once many are made.
    """
    seconds = [
        event.seconds for event in history if event.stage is stage and event.event is EventKind.DONE and event.seconds
    ]
    if not seconds:
        return None
    mean = statistics.fmean(seconds)
    error = statistics.stdev(seconds) / math.sqrt(len(seconds)) if len(seconds) > 1 else mean / 2
    return items * max(mean - error, 0.0) / 3600, items * (mean + error) / 3600
