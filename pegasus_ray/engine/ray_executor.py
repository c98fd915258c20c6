"""The engine on Ray: which kind of work goes to actors, to Ray Data, to Ray Train."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

from pegasus_ray.engine.actors import run_on_actors
from pegasus_ray.engine.cluster import connect
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.relay import orderly
from pegasus_ray.engine.schedule import Schedule
from pegasus_ray.engine.swaps import run_on_data
from pegasus_ray.engine.train import run_on_train
from pegasus_ray.jobs.work import Job, OnEvent, Outcome, settled
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage


class RayExecutor:
    """Fits on a pool of actors, swaps on Ray Data, the generative fit on Ray Train.

    One after the other, as each needs the last.
    """

    def __init__(self, library: Library, config: EngineConfig | None = None) -> None:
        if library.location.startswith("memory://"):
            message = "workers of other processes cannot see it; use a folder or a bucket"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=library.location)
        self._library = library
        self._config = config or EngineConfig()

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> list[Outcome]:
        """See `Executor.run`."""
        config = self._config
        if all(settled(job, self._library) for job in jobs):  # no need of a cluster to say so
            return Schedule(jobs, self._library, attempts=config.attempts, on_event=on_event).outcomes
        outcomes: list[Outcome] = []
        on_event = orderly(on_event)
        # Ray prints what befalls its nodes to standard output, which belongs to the command's answer.
        with redirect_stdout(sys.stderr), connect(config.address):
            for phase in ((Stage.TRACK, Stage.FIT), (Stage.SWAP,), (Stage.PERSONALIZE,), (Stage.TRANSFER,)):
                chosen = _ready([job for job in jobs if job.stage in phase], jobs, outcomes)
                if not chosen:
                    continue
                if phase == (Stage.SWAP,):
                    run = secrets.token_hex(4)
                    outcomes += run_on_data(chosen, self._library, config, on_event, run=run)
                elif phase == (Stage.PERSONALIZE,):
                    outcomes += run_on_train(chosen, self._library, config, on_event)
                else:
                    outcomes += run_on_actors(chosen, self._library, config, on_event)
        return outcomes


def _ready(phase: Sequence[Job], jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Job]:
    """The jobs of a phase whose needs from earlier phases were met."""
    made = {outcome.key for outcome in outcomes if outcome.status != "failed"}
    asked = {job.key for job in jobs} - {job.key for job in phase}
    return [job for job in phase if all(need in made or need not in asked for need in job.needs)]
