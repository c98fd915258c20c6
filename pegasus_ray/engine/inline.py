"""The engine without Ray: the same jobs, one after another in this process.

For tests, a debugger, a machine with torch alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.schedule import Schedule
from pegasus_ray.jobs.work import Event, Job, OnEvent, Outcome, attempt
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.progress import Progress


class Executor(Protocol):
    """Runs jobs to their end. Failed items are named, the others are done."""

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> list[Outcome]:
        """Run jobs, needs first; see `Schedule` for retries. Jobs whose need failed have no outcome."""


class InlineExecutor:
    """One job at a time, here."""

    def __init__(self, library: Library, config: EngineConfig | None = None) -> None:
        self._library = library
        self._config = config or EngineConfig(kind="inline")

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> list[Outcome]:
        """See `Executor.run`."""
        schedule = Schedule(jobs, self._library, attempts=self._config.attempts, on_event=on_event)
        while (tried := schedule.take()) is not None:
            heard = reporting(tried.job, on_event)
            heard(0.0, "begins")
            schedule.settle(tried, attempt(tried.job, self._library, heard, number=tried.number))
        return schedule.outcomes


def reporting(job: Job, on_event: OnEvent) -> Progress:
    """A job's progress as events."""

    def report(share: float, text: str) -> None:
        on_event(Event(stage=job.stage, key=job.key, subject=job.subject, share=share, text=text))

    return report
