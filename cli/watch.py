"""Watching a library while a run goes on, from this machine or any other that sees the library."""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import asdict

from pydantic_core import to_json
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.text import Text

from pegasus_ray.cli.options import Place
from pegasus_ray.cli.output import table
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.pace import Pace, paces
from pegasus_ray.library.records.status import Ledger, StageCounts, status
from pegasus_ray.schemas.manifests import Stage

LEAST_SECONDS = 1.0
"""Between two looks: each reads the records anew."""

Look = tuple[dict[Stage, StageCounts], dict[Stage, Pace], Counter[str]]


def watch_library(place: Place, seconds: float) -> None:
    """Show counts, rates and the time left again and again, until nothing runs or waits."""
    seconds = max(seconds, LEAST_SECONDS)
    if place.json:
        while True:
            look = _look(place)
            sys.stdout.write(to_json(_facts(look)).decode() + "\n")
            sys.stdout.flush()
            if _is_over(look):
                return
            time.sleep(seconds)
    with Live(console=Console(), auto_refresh=False) as live:
        while True:
            look = _look(place)
            live.update(_drawn(look), refresh=True)
            if _is_over(look):
                return
            time.sleep(seconds)


def _look(place: Place) -> Look:
    catalogue = Catalogue(place.open())
    ledger = Ledger(catalogue.library)
    counts = status(catalogue, ledger)
    failed = Counter(str(event.reason or "unknown") for event in ledger.failures(catalogue))
    return counts, paces(ledger.history, counts, time.time()), failed


def _is_over(look: Look) -> bool:
    return not any(counts.running or counts.waiting for counts in look[0].values())


def _facts(look: Look) -> dict[str, object]:
    counts, pace, failed = look
    stages = {
        stage.value: asdict(counts[stage])
        | {"a_minute": round(pace[stage].a_minute, 3), "minutes_left": pace[stage].minutes_left}
        for stage in Stage
    }
    return {"time": time.time(), **stages, "failed_by_reason": dict(failed)}


def _drawn(look: Look) -> Group:
    counts, pace, failed = look
    rows = (
        (
            stage.value,
            counts[stage].done,
            counts[stage].running,
            counts[stage].waiting,
            counts[stage].failed + counts[stage].quarantined,
            f"{pace[stage].a_minute:.1f}" if pace[stage].a_minute else "",
            _minutes(pace[stage].minutes_left),
        )
        for stage in Stage
    )
    shown = table(("stage", "#done", "#running", "#waiting", "#failed", "#a minute", "#time left"), rows)
    reasons = ", ".join(f"{count} {escape(reason.replace('_', ' '))}" for reason, count in failed.most_common())
    return Group(shown, Text(f"failed: {reasons}" if reasons else ""))


def _minutes(spread: tuple[float, float] | None) -> str:
    """A span of time as people say it."""
    if spread is None:
        return ""
    low, high = spread
    if high < 90:
        return f"{low:.0f}–{high:.0f} min"
    return f"{low / 60:.1f}–{high / 60:.1f} h"
