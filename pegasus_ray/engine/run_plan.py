"""Runs a plan on the engine that the configuration names."""

from __future__ import annotations

from dataclasses import replace

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.executor import executor
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.work import OnEvent, Outcome
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import put_ledger_together, write_events
from pegasus_ray.schemas.manifests import Kind


def run_plan(plan: WorkPlan, catalogue: Catalogue, engine: EngineConfig, on_event: OnEvent) -> list[Outcome]:
    """Note what the plan says about recordings, and run its jobs.

    The answer begins with the inputs for which no job could be planned. If all results are there already, Ray is not started.
    """
    catalogue.say(plan.recordings)
    if is_done(plan, catalogue):
        engine = replace(engine, kind="inline")
    else:
        put_ledger_together(catalogue.library, {entry.key for kind in Kind for entry in catalogue.entries(kind)})
    try:
        outcomes = executor(catalogue, engine).run(plan.jobs, on_event) if plan.jobs else []
    finally:
        catalogue.save()
        write_events(catalogue.library)
    return [*plan.failed, *outcomes]


def is_done(plan: WorkPlan, catalogue: Catalogue) -> bool:
    """Whether the results of all jobs are there."""
    return all(catalogue.get(job.stage.kind, job.key) for job in plan.jobs)
