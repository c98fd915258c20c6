"""Runs jobs without Ray, one after another in this process.

For tests, for a debugger, and for machines without Ray.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.schedule import More, Schedule
from pegasus_ray.jobs.work import Job, OnEvent, Outcome, attempt, progress_event
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.progress import Progress


class Executor(Protocol):
    """Runs jobs to their end. A job that fails does not stop the others, except those that need it."""

    def run(self, jobs: Sequence[Job], on_event: OnEvent, *, more: More | None = None) -> list[Outcome]:
        """Run jobs, each after those that it needs; see `Schedule` for further tries.

        A job has no outcome if one that it needs has failed. `more` gives the jobs that follow from an outcome.
        """


class InlineExecutor:
    """Runs one job at a time in this process."""

    def __init__(self, catalogue: Catalogue, config: EngineConfig | None = None) -> None:
        self._catalogue = catalogue
        self._config = config or EngineConfig(kind="inline")

    def run(self, jobs: Sequence[Job], on_event: OnEvent, *, more: More | None = None) -> list[Outcome]:
        """See `Executor.run`."""
        schedule = Schedule(jobs, self._catalogue, attempts=self._config.attempts, on_event=on_event, more=more)
        while (tried := schedule.take()) is not None:
            progress = progress_by_events(tried.job, on_event)
            progress(0.0, "begins")
            outcome = attempt(tried.job, self._catalogue.library, progress, number=tried.number)
            schedule.record_outcome(tried, outcome)
        return schedule.outcomes


def progress_by_events(job: Job, on_event: OnEvent) -> Progress:
    """A job's progress, passed on as events."""

    def report(share: float, text: str) -> None:
        on_event(progress_event(job, share, text))

    return report
