"""Runs jobs on Ray: hands each stage's jobs to actors, to Ray Data or to Ray Train."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Final

from pegasus_ray.engine.actors import run_on_actors
from pegasus_ray.engine.cluster import connect
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.relay import one_at_a_time
from pegasus_ray.engine.schedule import Schedule
from pegasus_ray.engine.swaps import run_on_data
from pegasus_ray.engine.train import run_on_train
from pegasus_ray.jobs.work import Job, OnEvent, Outcome, outcome_before_run
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage

PHASES: Final = ((Stage.TRACK, Stage.FIT), (Stage.SWAP,), (Stage.PERSONALIZE,), (Stage.TRANSFER,))
"""Which stages run together, one phase after the other. Every stage has to be in one: a test holds it."""


class RayExecutor:
    """Runs swaps on Ray Data, generative fits on Ray Train, and all other jobs on a pool of actors.

    The stages run one after the other, because the jobs of each need results of the one before.
    """

    def __init__(self, catalogue: Catalogue, config: EngineConfig | None = None) -> None:
        location = catalogue.library.location
        if location.startswith("memory://"):
            message = "workers of other processes cannot see it; use a folder or a bucket"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=location)
        self._catalogue = catalogue
        self._config = config or EngineConfig()

    def run(self, jobs: Sequence[Job], on_event: OnEvent) -> list[Outcome]:
        """See `Executor.run`."""
        config, catalogue = self._config, self._catalogue
        ledger = Ledger(catalogue.library)
        if all(outcome_before_run(job, catalogue, ledger) for job in jobs):  # nothing is to run: no cluster is needed
            return Schedule(jobs, catalogue, attempts=config.attempts, on_event=on_event).outcomes
        outcomes: list[Outcome] = []
        on_event = one_at_a_time(on_event)
        # Ray prints messages about its nodes to standard output, where only the command's answer may be.
        with redirect_stdout(sys.stderr), connect(config.address):
            for phase in PHASES:
                chosen = _runnable([job for job in jobs if job.stage in phase], jobs, outcomes)
                if not chosen:
                    continue
                if phase == (Stage.SWAP,):
                    run = secrets.token_hex(4)
                    outcomes += run_on_data(chosen, catalogue, config, on_event, run=run)
                elif phase == (Stage.PERSONALIZE,):
                    outcomes += run_on_train(chosen, catalogue, config, on_event)
                else:
                    outcomes += run_on_actors(chosen, catalogue, config, on_event)
        return outcomes


def _runnable(phase: Sequence[Job], jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> list[Job]:
    """The jobs of a phase whose needs from earlier phases are done."""
    made = {outcome.key for outcome in outcomes if outcome.status != "failed"}
    asked = {job.key for job in jobs} - {job.key for job in phase}
    return [job for job in phase if all(need in made or need not in asked for need in job.needs)]
