"""Runs jobs on Ray: hands those of each stage to the lane that carries them, as soon as what they need is there."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import Final

from pegasus_ray.engine.actors import ActorLane, can_ever_hold
from pegasus_ray.engine.cluster import connect
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.lane import Lane
from pegasus_ray.engine.relay import one_at_a_time, relay_events
from pegasus_ray.engine.schedule import More, Schedule
from pegasus_ray.engine.swaps import DataLane
from pegasus_ray.engine.train import TrainLane
from pegasus_ray.jobs.work import Event, Job, OnEvent, Outcome, outcome_before_run, waiting_event
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import LEDGER, MARKS_PREFIX, beat
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.errors import PegasusError, Reason

LANES: Final = (ActorLane, DataLane, TrainLane)
"""Every stage has to be carried by one: a test holds it."""
ROUND_SECONDS: Final = 0.25
"""How long the driver waits for an end before it looks around again."""


class RayExecutor:
    """Runs swaps on Ray Data, generative fits on Ray Train, and all other jobs on actors; all of them side by side."""

    def __init__(self, catalogue: Catalogue, config: EngineConfig | None = None) -> None:
        location = catalogue.library.location
        if location.startswith("memory://"):
            message = "workers of other processes cannot see it; use a folder or a bucket"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=location)
        self._catalogue = catalogue
        self._config = config or EngineConfig()

    def run(self, jobs: Sequence[Job], on_event: OnEvent, *, more: More | None = None) -> list[Outcome]:
        """See `Executor.run`."""
        config, catalogue = self._config, self._catalogue
        on_event = one_at_a_time(on_event)

        def schedule() -> Schedule:
            return Schedule(jobs, catalogue, attempts=config.attempts, on_event=on_event, elsewhere=True, more=more)

        ledger = Ledger(catalogue.library)
        if all(
            outcome_before_run(job, catalogue, ledger) for job in jobs
        ):  # perhaps nothing is to run: no cluster is needed
            planned = schedule()
            if planned.finished():
                return planned.outcomes
        # Ray prints messages about its nodes to standard output, where only the command's answer may be.
        with redirect_stdout(sys.stderr), connect(config.address), ExitStack() as stack:
            if config.address is None:
                _expect_room(jobs, config)
            run = secrets.token_hex(4)
            token = stack.enter_context(_token(catalogue, run))
            heard: set[str] = set()

            def hear(event: Event) -> None:
                heard.add(event.key)
                on_event(event)

            events = stack.enter_context(relay_events(hear))
            location = catalogue.library.location

            def say(text: str) -> None:
                on_event(waiting_event(text))

            lanes: list[Lane] = [
                DataLane(config, catalogue.library, run=run, events=events, heard=heard),
                TrainLane(config, catalogue.library, events=events, heard=heard),
                ActorLane(config, location, token=token, events=events, say=say),
            ]
            for lane in lanes:
                stack.callback(lane.close)
            return _drive(schedule(), lanes, lambda: beat(catalogue.library))


def _drive(schedule: Schedule, lanes: Sequence[Lane], heartbeat: Callable[[], None]) -> list[Outcome]:
    """Hand out jobs and take up outcomes until all have ended."""
    while not schedule.finished():
        for lane in lanes:
            lane.pull(schedule, give_way=any(other.hungry for other in lanes if other is not lane))
        heartbeat()
        ended = [end for lane in lanes[:-1] for end in lane.collect(0.0)]
        ended += lanes[-1].collect(0.0 if ended else ROUND_SECONDS)
        for end in ended:
            schedule.record_end(end)
    return schedule.outcomes


@contextmanager
def _token(catalogue: Catalogue, run: str) -> Iterator[str]:
    """A folder of the library by which workers show that they see the same library as the driver."""
    folder = f"{LEDGER}/{MARKS_PREFIX}{run}-token"
    catalogue.library.put(f"{folder}/token", b"")
    try:
        yield folder
    finally:
        catalogue.library.storage.remove_tree(folder)


def _expect_room(jobs: Sequence[Job], config: EngineConfig) -> None:
    """Refuse at once what this machine's cluster, which does not grow, can never hold. Raises PegasusError BAD_CONFIG."""
    for stage in dict.fromkeys(job.stage for job in jobs):
        demand = config.demand(stage)
        if not can_ever_hold(demand):
            message = f"a worker of this stage asks for {demand}, and this machine has less; ask for less with --set"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=f"engine.{stage}")
