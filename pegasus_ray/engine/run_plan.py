"""Runs a plan on the engine that the configuration names."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import replace

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.executor import executor
from pegasus_ray.engine.schedule import More
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.work import OnEvent, Outcome
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import put_ledger_together, write_events
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.manifests import Kind


def run_plan(
    plan: WorkPlan, catalogue: Catalogue, engine: EngineConfig, on_event: OnEvent, *, more: More | None = None
) -> list[Outcome]:
    """Note what the plan says about recordings, and run its jobs, and those that `more` gives as they follow from an outcome.

    The answer begins with the inputs for which no job could be planned. If all results are there already, Ray is not started.
    `more` may be asked about one outcome several times and always gives the same jobs.
    """
    catalogue.say(plan.recordings)
    if more is not None:
        plan = look_ahead(plan, catalogue, more)
    if is_done(plan, catalogue):
        engine = replace(engine, kind="inline")
    else:
        put_ledger_together(catalogue.library, {entry.key for kind in Kind for entry in catalogue.entries(kind)})
    try:
        outcomes = executor(catalogue, engine).run(plan.jobs, on_event, more=more) if plan.jobs else []
    finally:
        catalogue.save()
        with suppress(PegasusError, OSError):  # what the ledger lacks must not hide how the jobs ended
            write_events(catalogue.library)
    return [*plan.failed, *outcomes]


def look_ahead(plan: WorkPlan, catalogue: Catalogue, more: More) -> WorkPlan:
    """The plan with all jobs that follow from results that are there already, so that it tells what is left to do."""
    jobs, line = {job.key: job for job in plan.jobs}, deque(plan.jobs)
    while line:
        job = line.popleft()
        if catalogue.get(job.stage.kind, job.key) is None:
            continue
        for following in more(Outcome(stage=job.stage, key=job.key, subject=job.subject, status="skipped")):
            if following.key not in jobs:
                jobs[following.key] = following
                line.append(following)
    return replace(plan, jobs=tuple(jobs.values()))


def is_done(plan: WorkPlan, catalogue: Catalogue) -> bool:
    """Whether the results of all jobs are there."""
    return all(catalogue.get(job.stage.kind, job.key) for job in plan.jobs)
