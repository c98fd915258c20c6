"""Which job comes next: needs first, retries counted by the driver, quarantine after the last.

Pure bookkeeping, no Ray.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pegasus_ray.jobs.work import Event, Job, OnEvent, Outcome, item_of, set_aside, settled
from pegasus_ray.library.ledger import write_plan
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try at a job. On the ladder, the job asks for less memory than the one that was planned."""

    job: Job
    number: int = 1


class Schedule:
    """The jobs of one run, from waiting to settled.

    A job whose need failed is never tried and has no outcome: the failure is the need's, and the next run goes on from
    there.
    """

    def __init__(self, jobs: Sequence[Job], library: Library, *, attempts: int, on_event: OnEvent) -> None:
        self._library = library
        self._attempts = attempts
        self._on_event = on_event
        self._outcomes: dict[str, Outcome] = {}
        self._waiting: deque[Try] = deque()
        self._open: set[str] = set()  # keys that are waiting or running
        self._lost: set[str] = set()  # keys that failed, or that need one that did
        for job in {job.key: job for job in jobs}.values():
            outcome = settled(job, library)
            if outcome is None:
                self._waiting.append(Try(job=job))
                self._open.add(job.key)
            else:
                self._close(outcome)
        if self._waiting:
            write_plan(library, [item_of(waiting.job) for waiting in self._waiting])

    def finished(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not self._open

    @property
    def outcomes(self) -> list[Outcome]:
        """In the order in which the jobs ended."""
        return list(self._outcomes.values())

    def take(self) -> Try | None:
        """The next try whose needs are there; None if all that is left waits for something that runs."""
        for _ in range(len(self._waiting)):
            chosen = self._waiting.popleft()
            needs = set(chosen.job.needs)
            if needs & self._lost:
                self._open.discard(chosen.job.key)
                self._lost.add(chosen.job.key)
                return self.take()  # what was passed over may need this one
            if not needs & self._open:
                return chosen
            self._waiting.append(chosen)
        return None

    def settle(self, tried: Try, outcome: Outcome) -> None:
        """Take a try's outcome: it ends the job, or the job is put in line again.

        A worker's death is tried again `attempts` times; after a lack of memory the job's smaller form is next. When
        that is used up the item is set aside: only `pegasus retry` lets a later run try it again. Other failures are
        the input's or the configuration's: trying at once again would not help.
        """
        if outcome.status == "failed":
            following = self._following(tried, outcome)
            if following is not None:
                self._waiting.append(following)
                return
            if outcome.reason in (Reason.WORKER_DIED, Reason.OUT_OF_MEMORY):
                set_aside(self._library, tried.job, outcome, number=tried.number)
        self._close(outcome)

    def _following(self, tried: Try, outcome: Outcome) -> Try | None:
        if outcome.reason is Reason.OUT_OF_MEMORY:
            smaller = tried.job.smaller()
            return None if smaller is None else Try(job=smaller, number=tried.number + 1)
        if outcome.reason is Reason.WORKER_DIED and tried.number < self._attempts:
            return Try(job=tried.job, number=tried.number + 1)
        return None

    def _close(self, outcome: Outcome) -> None:
        self._open.discard(outcome.key)
        self._outcomes[outcome.key] = outcome
        if outcome.status == "failed":
            self._lost.add(outcome.key)
        self._on_event(Event(stage=outcome.stage, key=outcome.key, subject=outcome.subject, share=1.0, outcome=outcome))
