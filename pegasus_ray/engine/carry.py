"""Carrying out a plan: its jobs on the engine that is wished for, the inputs without a job among the failed."""

from __future__ import annotations

from dataclasses import replace

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.executor import executor
from pegasus_ray.jobs.plan import WorkPlan
from pegasus_ray.jobs.work import OnEvent, Outcome
from pegasus_ray.library.library import Library


def carry_out(plan: WorkPlan, library: Library, engine: EngineConfig, on_event: OnEvent) -> list[Outcome]:
    """Run a plan's jobs. Ray is not started where all is done already."""
    if is_done(plan, library):
        engine = replace(engine, kind="inline")
    outcomes = executor(library, engine).run(plan.jobs, on_event) if plan.jobs else []
    return [*plan.failed, *outcomes]


def is_done(plan: WorkPlan, library: Library) -> bool:
    """Whether the result of every job is there."""
    return all(library.exists(job.stage.kind, job.key) for job in plan.jobs)
