"""Many jobs on Ray actors: a window that the driver holds, one job in flight an actor.

Retries are the driver's: Ray would use up its own within seconds of a node's death, and cannot step down in size. An
actor that died is replaced by a new one, not restarted: a call to an actor that is still restarting fails at once, and
would cost the next job a try.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ray

from pegasus_ray.engine.cluster import room_for
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.relay import posting, relay
from pegasus_ray.engine.schedule import Schedule, Try
from pegasus_ray.jobs.work import Job, OnEvent, Outcome, attempt, explain, failure
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import Reason

POLL = 1.0
"""Seconds for which the driver waits for an answer before it looks around."""


class Worker:
    """Runs one job at a time."""

    def __init__(self, location: str, mailbox: Any) -> None:
        self._library = Library(location)
        self._mailbox = mailbox

    def run(self, job: Job, number: int) -> Outcome:
        """See `attempt`."""
        return attempt(job, self._library, posting(job, self._mailbox), number=number)


def run_on_actors(jobs: Sequence[Job], library: Library, config: EngineConfig, on_event: OnEvent) -> list[Outcome]:
    """Run jobs on a pool of actors, needs first. See `Schedule` for retries and quarantine."""
    schedule = Schedule(jobs, library, attempts=config.attempts, on_event=on_event)
    if schedule.finished():
        return schedule.outcomes
    size = min(config.workers or room_for(config.cpus, config.gpus), len(jobs))
    with relay(on_event) as mailbox:
        pool = _Pool(library.location, config, mailbox, size)
        try:
            while not schedule.finished():
                while pool.idle and (tried := schedule.take()) is not None:
                    pool.begin(tried)
                for tried, outcome in pool.ended():
                    schedule.settle(tried, outcome)
        finally:
            pool.close()
    return schedule.outcomes


class _Pool:
    """Actors, and what each is at."""

    def __init__(self, location: str, config: EngineConfig, mailbox: Any, size: int) -> None:
        self._location = location
        self._config = config
        self._mailbox = mailbox
        self._size = size
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, Try]] = {}  # answer → (actor, what it is at)

    @property
    def idle(self) -> bool:
        """Whether one more job can begin."""
        return len(self._busy) < self._size

    def begin(self, tried: Try) -> None:
        """Give a job to an idle actor, or to a new one."""
        actor = self._idle.pop() if self._idle else self._new()
        self._busy[actor.run.remote(tried.job, tried.number)] = (actor, tried)

    def ended(self) -> list[tuple[Try, Outcome]]:
        """Answers that have come, after `POLL` seconds at most."""
        ready, _ = ray.wait(list(self._busy), timeout=POLL)
        return [self._answer(reference) for reference in ready]

    def close(self) -> None:
        """Stop all actors, whatever they are at."""
        for actor in (*self._idle, *(actor for actor, _ in self._busy.values())):
            ray.kill(actor)

    def _answer(self, reference: Any) -> tuple[Try, Outcome]:
        actor, tried = self._busy.pop(reference)
        try:
            outcome: Outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            ray.kill(actor)
            return tried, _lost(tried, error)
        self._idle.append(actor)
        return tried, outcome

    def _new(self) -> Any:
        resources = {"num_cpus": self._config.cpus, "num_gpus": self._config.gpus, "max_restarts": 0}
        selector = {"label_selector": self._config.labels} if self._config.labels else {}
        return ray.remote(Worker).options(**resources, **selector).remote(self._location, self._mailbox)


def _lost(tried: Try, error: Exception) -> Outcome:
    """The outcome of a job that took its worker with it."""
    if isinstance(error, ray.exceptions.RayTaskError):  # the job could not even be read by the worker
        reason, message = explain(error.cause or error)
        return failure(tried.job, reason, message)
    text = str(error)
    if (
        isinstance(error, ray.exceptions.OutOfMemoryError)
        or "memory pressure" in text
        or "out of memory" in text.lower()
    ):
        return failure(tried.job, Reason.OUT_OF_MEMORY, "the node ran out of memory and the worker was ended")
    return failure(tried.job, Reason.WORKER_DIED, "the worker died; its log is in Ray's session folder")
