"""Runs jobs on a pool of Ray actors, one job at a time on each.

The driver counts the tries and starts them again. Ray's own retries would all be used up within seconds of a node's death,
and Ray cannot ask for a smaller form of a job. An actor that died is replaced by a new one and is not restarted, because a
call to an actor that is still restarting fails at once, which would cost the next job a try.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from pegasus_ray.engine.cluster import worker_capacity
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.relay import progress_by_post, relay_events
from pegasus_ray.engine.schedule import Schedule, Try
from pegasus_ray.jobs.work import Job, OnEvent, Outcome, attempt, describe_error, failed_outcome
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.errors import Reason

WAIT_SECONDS = 1.0
"""How long the driver waits for an answer before it looks whether more jobs can start."""


class Worker:
    """The actor: runs one job at a time."""

    def __init__(self, location: str, events: Any) -> None:
        self._library = Library(location)
        self._events = events

    def run(self, job: Job, number: int) -> Outcome:
        """See `attempt`."""
        return attempt(job, self._library, progress_by_post(job, self._events), number=number)


def run_on_actors(jobs: Sequence[Job], catalogue: Catalogue, config: EngineConfig, on_event: OnEvent) -> list[Outcome]:
    """Run jobs on a pool of actors, each after those that it needs. See `Schedule` for further tries and quarantine."""
    schedule = Schedule(jobs, catalogue, attempts=config.attempts, on_event=on_event)
    if schedule.finished():
        return schedule.outcomes
    size = min(config.workers or worker_capacity(config.cpus, config.gpus), len(jobs))
    with relay_events(on_event) as events:
        pool = _Pool(catalogue.library.location, config, events, size)
        try:
            while not schedule.finished():
                while pool.has_room and (tried := schedule.take()) is not None:
                    pool.start(tried)
                for tried, outcome in pool.wait():
                    schedule.record_outcome(tried, outcome)
        finally:
            pool.close()
    return schedule.outcomes


class _Pool:
    """The actors, and the job that each is running."""

    def __init__(self, location: str, config: EngineConfig, events: Any, size: int) -> None:
        self._location = location
        self._config = config
        self._events = events
        self._size = size
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Try]] = {}  # reference to the answer → (actor, its try)

    @property
    def has_room(self) -> bool:
        """Whether one more job can start."""
        return len(self._busy) < self._size

    def start(self, tried: Try) -> None:
        """Give a job to an idle actor, or to a new one if none is idle."""
        actor = self._idle.pop() if self._idle else self._new_actor()
        self._busy[actor.run.remote(tried.job, tried.number)] = (actor, tried)

    def wait(self) -> list[tuple[Try, Outcome]]:
        """Wait for an answer, at most `WAIT_SECONDS`, and return the tries that have ended."""
        ready, _ = ray.wait(list(self._busy), timeout=WAIT_SECONDS)
        return [self._answer(reference) for reference in ready]

    def close(self) -> None:
        """Stop all actors, busy or not."""
        for actor in (*self._idle, *(actor for actor, _ in self._busy.values())):
            ray.kill(actor)

    def _answer(self, reference: Any) -> tuple[Try, Outcome]:
        actor, tried = self._busy.pop(reference)
        try:
            outcome: Outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            ray.kill(actor)
            return tried, _outcome_of_error(tried, error)
        self._idle.append(actor)
        return tried, outcome

    def _new_actor(self) -> Any:
        resources = {"num_cpus": self._config.cpus, "num_gpus": self._config.gpus, "max_restarts": 0}
        selector = {"label_selector": self._config.labels} if self._config.labels else {}
        return ray.remote(Worker).options(**resources, **selector).remote(self._location, self._events)


def _outcome_of_error(tried: Try, error: Exception) -> Outcome:
    """The outcome of a try for which the worker gave no answer."""
    if isinstance(error, ray.exceptions.RayTaskError):  # an error outside `attempt`, for instance in unpickling the job
        reason, message = describe_error(error.cause or error)
        return failed_outcome(tried.job, reason, message)
    text = str(error)
    if (
        isinstance(error, ray.exceptions.OutOfMemoryError)
        or "memory pressure" in text
        or "out of memory" in text.lower()
    ):
        return failed_outcome(tried.job, Reason.OUT_OF_MEMORY, "the node ran out of memory and the worker was ended")
    return failed_outcome(tried.job, Reason.WORKER_DIED, "the worker died; its log is in Ray's session folder")
