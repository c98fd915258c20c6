"""Decides which job runs next, which is tried again, and which is quarantined.

Pure bookkeeping, without Ray.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pegasus_ray.jobs.work import Job, OnEvent, Outcome, end_event, outcome_before_run, planned_item, quarantine
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import write_plan
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.errors import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try at a job. After running out of memory, the job is a smaller form (`Job.smaller`) of the one that was planned."""

    job: Job
    planned: Job
    number: int = 1


class Schedule:
    """The jobs of one run, and which of them wait, run or have ended.

    A job is taken only after the jobs that it needs. If one of those fails, the job is never tried and has no outcome;
    the next run can go on from there.
    """

    def __init__(self, jobs: Sequence[Job], catalogue: Catalogue, *, attempts: int, on_event: OnEvent) -> None:
        self._catalogue = catalogue
        self._attempts = attempts
        self._on_event = on_event
        self._outcomes: dict[str, Outcome] = {}
        self._waiting: deque[Try] = deque()
        self._unfinished: set[str] = set()  # keys of jobs that wait or run
        self._lost: set[str] = set()  # keys of jobs that failed, or that need one that did
        ledger = Ledger(catalogue.library)
        for job in {job.key: job for job in jobs}.values():
            outcome = outcome_before_run(job, catalogue, ledger)
            if outcome is None:
                self._waiting.append(Try(job=job, planned=job))
                self._unfinished.add(job.key)
            else:
                self._end(job, outcome)
        if self._waiting:
            write_plan(catalogue.library, [planned_item(waiting.job) for waiting in self._waiting])

    def finished(self) -> bool:
        """Whether no job waits and none runs."""
        return not self._unfinished

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes so far, in the order in which the jobs ended."""
        return list(self._outcomes.values())

    def take(self) -> Try | None:
        """The next try whose needs are all done; None if none waits, or all that wait need a job that has not ended."""
        passed_over = 0
        while passed_over < len(self._waiting):
            chosen = self._waiting.popleft()
            needs = set(chosen.job.needs)
            if needs & self._lost:
                self._unfinished.discard(chosen.job.key)
                self._lost.add(chosen.job.key)
                passed_over = 0  # a job that was passed over may need this one, so look at all of them again
                continue
            if not needs & self._unfinished:
                return chosen
            self._waiting.append(chosen)
            passed_over += 1
        return None

    def record_outcome(self, tried: Try, outcome: Outcome) -> None:
        """Record how a try ended: the job ends with it, or is put in line for another try.

        A job whose worker died is tried again until it has had `attempts` tries. A job that ran out of memory is tried
        again in its smaller form. When there is no further try, the job is quarantined: only `pegasus retry` lets a
        later run try it again. After other failures there is no second try, because the cause is the input or the
        configuration, and the result would be the same.
        """
        if outcome.status == "failed":
            following = self._next_try(tried, outcome)
            if following is not None:
                self._waiting.append(following)
                return
            if outcome.reason in (Reason.WORKER_DIED, Reason.OUT_OF_MEMORY):
                quarantine(self._catalogue.library, tried.planned, outcome, number=tried.number)
        self._end(tried.planned, outcome)

    def _next_try(self, tried: Try, outcome: Outcome) -> Try | None:
        if outcome.reason is Reason.OUT_OF_MEMORY:
            smaller = tried.job.smaller()
            return None if smaller is None else replace(tried, job=smaller, number=tried.number + 1)
        if outcome.reason is Reason.WORKER_DIED and tried.number < self._attempts:
            return replace(tried, number=tried.number + 1)
        return None

    def _end(self, planned: Job, outcome: Outcome) -> None:
        """A job has ended. One that was made smaller is another result, so that jobs that need it are not tried in this run."""
        self._unfinished.discard(planned.key)
        self._outcomes[planned.key] = outcome
        if outcome.entry is not None:
            self._catalogue.add(outcome.entry)
        if self._catalogue.get(planned.stage.kind, planned.key) is None:
            self._lost.add(planned.key)
        self._on_event(end_event(outcome))
