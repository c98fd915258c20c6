"""Decides which job runs next, which is tried again, and which is quarantined.

Pure bookkeeping, without Ray and without a clock. Jobs form a graph by their needs; a job is ready when all that it needs is
there, whatever else is going on, and jobs may join at any time. Of the ready jobs the latest stage comes first: a fit before
another track, a swap before another fit. So results come out early, and GPUs, which only later stages use, do not wait for all
tracks. Only a stage of which nothing runs comes before that: no stage is to stand still for want of what an earlier one makes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

from pegasus_ray.jobs.work import (
    Job,
    OnEvent,
    Outcome,
    end_event,
    lost_outcome,
    outcome_before_run,
    planned_item,
    quarantine,
)
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import write_plan
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import Stage

STRIKES: Final = (Reason.WORKER_DIED, Reason.TIMED_OUT)
"""A job whose tries end so is tried again, up to a number of times, and then quarantined."""
PERHAPS_THE_WORKER: Final = (Reason.INTERNAL, Reason.DISK_FULL, Reason.ASSET_MISSING)
"""What may be the fault of a worker or of its node: a job that fails so is tried once more, elsewhere."""
MAX_PREEMPTIONS: Final = 50
"""Nodes that may be taken away from under one job; more, and it counts as the job's fault."""
LATEST_FIRST: Final = tuple(reversed(Stage))

More = Callable[[Outcome], Iterable[Job]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One try at a job. After running out of memory, the job is a smaller form (`Job.smaller`) of the one that was planned."""

    job: Job
    planned: Job
    number: int = 1
    avoid: frozenset[str] = frozenset()  # nodes where it has failed
    preemptions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a try ended, as the part of the engine reports it that ran it."""

    tried: Try
    outcome: Outcome
    node: str = ""  # where it ran, if that is known
    preempted: bool = False  # the node was taken away, which is nobody's fault


class Schedule:
    """The jobs of one run, and which of them wait, run or have ended.

    A job is taken only after the jobs that it needs. If one of those fails, the job is never tried and has no outcome;
    the next run can go on from there.

    Args:
        jobs: to begin with.
        catalogue: what there is; it is kept up.
        attempts: tries at a job whose worker dies.
        on_event: told when a job ends.
        elsewhere: whether there are other workers, on which a failure may be worth another try.
        more: jobs that follow from an outcome.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        catalogue: Catalogue,
        *,
        attempts: int,
        on_event: OnEvent,
        elsewhere: bool = False,
        more: More | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._ledger = Ledger(catalogue.library)
        self._attempts = attempts
        self._on_event = on_event
        self._elsewhere = elsewhere
        self._more = more
        self._outcomes: dict[str, Outcome] = {}
        self._ready: dict[Stage, deque[Try]] = {stage: deque() for stage in Stage}
        self._running = dict.fromkeys(Stage, 0)  # tries that were taken and have not ended
        self._missing: dict[str, int] = {}  # how many of its needs a job still waits for
        self._waiting: dict[str, Job] = {}
        self._needed_by: dict[str, list[str]] = {}
        self._open: set[str] = set()  # keys of jobs that wait, are ready or run
        self._lost: set[str] = set()  # keys of jobs that failed, or that need one that did
        self.add(jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """Let jobs join; those that are known already are passed over."""
        todo, ended = [], []
        for job in {job.key: job for job in jobs}.values():
            if job.key in self._open or job.key in self._lost or job.key in self._outcomes:
                continue
            outcome = outcome_before_run(job, self._catalogue, self._ledger)
            if outcome is None:
                todo.append(job)
                self._open.add(job.key)
            else:
                ended.append((job, outcome))
        if todo:
            write_plan(self._catalogue.library, [planned_item(job) for job in todo])
        for job, outcome in ended:  # first, since others may need what has failed for good
            if job.key not in self._outcomes:  # one of them may have followed from the end of another
                self._end(job, outcome)
        for job in todo:
            self._put_in_line(job)

    def finished(self) -> bool:
        """Whether no job waits and none runs."""
        return not self._open

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcomes so far, in the order in which the jobs ended."""
        return list(self._outcomes.values())

    def ready(self, stages: Collection[Stage] = tuple(Stage)) -> int:
        """How many jobs of some stages could start now."""
        return sum(len(self._ready[stage]) for stage in stages)

    def take(self, stages: Collection[Stage] = tuple(Stage)) -> Try | None:
        """The next try at a job of some stages whose needs are all there; None if there is none just now."""
        ready = [stage for stage in LATEST_FIRST if stage in stages and self._ready[stage]]
        if not ready:
            return None
        stage = next((stage for stage in ready if not self._running[stage]), ready[0])
        self._running[stage] += 1
        return self._ready[stage].popleft()

    def put_back(self, tried: Try) -> None:
        """Return a try that was taken and not begun."""
        self._running[tried.planned.stage] -= 1
        self._ready[tried.planned.stage].appendleft(tried)

    def record_outcome(self, tried: Try, outcome: Outcome) -> None:
        """As `record_end`, for who knows of no nodes."""
        self.record_end(Ended(tried=tried, outcome=outcome))

    def record_end(self, ended: Ended) -> None:
        """Record how a try ended: the job ends with it, or is put in line for another try.

        A job whose worker died or took too long is tried again until it has had `attempts` tries; a node that was taken away does
        not count. A job that ran out of memory is tried again in its smaller form. What may be the worker's fault is tried once
        more elsewhere. After other failures there is no second try, because the cause is the input or the configuration, and the
        result would be the same. When the tries are used up by deaths or for want of memory, the job is quarantined: only
        `pegasus retry` lets a later run try it again.
        """
        tried, outcome = ended.tried, ended.outcome
        self._running[tried.planned.stage] -= 1
        if outcome.status == "failed":
            following = self._next_try(ended)
            if following is not None:
                self._ready[tried.planned.stage].append(following)
                return
            if outcome.reason in (*STRIKES, Reason.OUT_OF_MEMORY):
                quarantine(self._catalogue.library, tried.planned, outcome, number=tried.number)
        self._end(tried.planned, outcome)

    def _next_try(self, ended: Ended) -> Try | None:
        tried, reason = ended.tried, ended.outcome.reason
        if ended.preempted and tried.preemptions < MAX_PREEMPTIONS:
            return replace(tried, preemptions=tried.preemptions + 1)
        if reason is Reason.OUT_OF_MEMORY:
            smaller = tried.job.smaller()
            if smaller is not None and smaller.key != tried.planned.key:
                smaller = replace(cast(Any, smaller), room=ended.outcome.room or tried.job.room)
            return None if smaller is None else replace(tried, job=smaller, number=tried.number + 1)
        if reason in STRIKES and tried.number < self._attempts:
            return replace(tried, number=tried.number + 1)
        if reason in PERHAPS_THE_WORKER and self._elsewhere and not tried.avoid:
            return replace(tried, number=tried.number + 1, avoid=frozenset({ended.node}))
        return None

    def _put_in_line(self, job: Job) -> None:
        needs = set(job.needs)
        if needs & self._lost:
            self._lose(job.key)
            return
        missing = needs & self._open
        if not missing:
            self._ready[job.stage].append(Try(job=job, planned=job))
            return
        self._missing[job.key], self._waiting[job.key] = len(missing), job
        for need in missing:
            self._needed_by.setdefault(need, []).append(job.key)

    def _end(self, planned: Job, outcome: Outcome) -> None:
        """A job has ended. One that was made smaller is another result: jobs that need it are not tried, and say so."""
        self._open.discard(planned.key)
        self._outcomes[planned.key] = outcome
        if outcome.entry is not None:
            self._catalogue.add(outcome.entry)
        made_smaller = outcome.status != "failed" and outcome.key != planned.key
        if self._catalogue.get(planned.stage.kind, planned.key) is None:
            for job in self._lose(planned.key):
                if made_smaller:
                    self._outcomes[job.key] = lost_outcome(job, outcome)
                    self._on_event(end_event(self._outcomes[job.key]))
        else:
            for key in self._needed_by.pop(planned.key, ()):
                if key in self._waiting:
                    self._missing[key] -= 1
                    if not self._missing[key]:
                        job = self._waiting.pop(key)
                        self._ready[job.stage].append(Try(job=job, planned=job))
        self._on_event(end_event(outcome))
        if self._more is not None:
            self.add(self._more(outcome))

    def _lose(self, key: str) -> list[Job]:
        """Give up a job, and all that need it, directly or through others; returns these."""
        lost, dependents = deque([key]), []
        while lost:
            gone = lost.popleft()
            self._lost.add(gone)
            self._open.discard(gone)
            if job := self._waiting.pop(gone, None):
                dependents.append(job)
            lost.extend(key for key in self._needed_by.pop(gone, ()) if key not in self._lost)
        return dependents
