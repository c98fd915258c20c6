"""Runs a plan on the engine that the configuration names."""

from __future__ import annotations

from dataclasses import replace

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.executor import executor
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.work import OnEvent, Outcome
from pegasus_ray.library.library import Library


def run_plan(plan: WorkPlan, library: Library, engine: EngineConfig, on_event: OnEvent) -> list[Outcome]:
    """Run a plan's jobs; the answer begins with the inputs for which no job could be planned.

    If all results are there already, Ray is not started.
    """
    if is_done(plan, library):
        engine = replace(engine, kind="inline")
    outcomes = executor(library, engine).run(plan.jobs, on_event) if plan.jobs else []
    return [*plan.failed, *outcomes]


def is_done(plan: WorkPlan, library: Library) -> bool:
    """Whether the results of all jobs are there."""
    return all(library.exists(job.stage.kind, job.key) for job in plan.jobs)
