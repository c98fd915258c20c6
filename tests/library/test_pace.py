"""The pace of a run is that of the last minutes, and the time left has a spread that shrinks as more is done."""

from __future__ import annotations

import pytest

from pegasus_ray.library.records.pace import hours_of_work, paces
from pegasus_ray.library.records.status import StageCounts
from pegasus_ray.schemas.manifests import EventKind, LedgerEvent, Stage

NOW = 1_000_000.0


def done(seconds_ago: float, number: int = 0) -> LedgerEvent:
    return LedgerEvent(event=EventKind.DONE, stage=Stage.FIT, key=f"{number:016x}", time=NOW - seconds_ago)


def counts(waiting: int, running: int = 0) -> dict[Stage, StageCounts]:
    return dict.fromkeys(Stage, StageCounts()) | {Stage.FIT: StageCounts(waiting=waiting, running=running)}


def test_a_steady_run() -> None:
    history = [done(600 - 6 * number, number) for number in range(100)]  # ten a minute
    pace = paces(history, counts(waiting=190, running=10), NOW)[Stage.FIT]
    assert pace.a_minute == pytest.approx(10)
    low, high = pace.minutes_left
    assert low < 20 < high and high < 1.3 * low
    few = paces(history[-4:], counts(waiting=200), NOW)[Stage.FIT].minutes_left
    assert few[1] / few[0] > 2, "of four little can be said"


def test_what_was_done_long_ago_does_not_count() -> None:
    history = [done(86_400 + number, number) for number in range(100)][::-1]
    pace = paces(history, counts(waiting=10), NOW)[Stage.FIT]
    assert (pace.a_minute, pace.minutes_left) == (0, None)


def test_nothing_left_takes_no_time() -> None:
    assert paces([done(60), done(30, 1)], counts(waiting=0), NOW)[Stage.FIT].minutes_left is None


def test_the_work_of_a_plan_is_what_such_items_took() -> None:
    history = [done(60.0, number).model_copy(update={"seconds": 300.0 + 60 * (number % 2)}) for number in range(40)]
    low, high = hours_of_work(history, Stage.FIT, 12)
    assert low < 12 * 330 / 3600 < high and high - low < 0.1 * low
    assert hours_of_work(history, Stage.SWAP, 12) is None, "none was made here"
    alone = hours_of_work(history[:1], Stage.FIT, 12)
    assert alone[1] == pytest.approx(3 * alone[0]), "of one little can be said"
