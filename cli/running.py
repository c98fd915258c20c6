"""Carrying a plan out, and telling how it went: the same for every command that makes something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from pegasus_ray.cli.options import SOME_FAILED, Run
from pegasus_ray.cli.output import answer, jobs_progress, note, table
from pegasus_ray.schemas.manifests import Stage

if TYPE_CHECKING:
    from pegasus_ray.jobs.plan import WorkPlan
    from pegasus_ray.jobs.work import Outcome


def carry_out(plan: WorkPlan, run: Run, *, after: Callable[[], object] | None = None) -> None:
    """Run a plan and answer; with `--plan` only say what would be done.

    Args:
        plan: what to do.
        run: where and how.
        after: what is to follow once the plan is carried out.

    Raises:
        Exit: with code 1 if some items failed.
    """
    if run.plan:
        tell_plan(plan, run)
        return
    from pegasus_ray.engine import carry

    began = time.monotonic()
    with jobs_progress() as on_event:
        outcomes = carry.carry_out(plan, run.open(), run.spread(), on_event)
    if after is not None:
        after()
    tell_outcomes(outcomes, plan.stage, time.monotonic() - began, run)


def tell_plan(plan: WorkPlan, run: Run) -> None:
    """What would be done."""
    library = run.open()
    items = [
        {
            "stage": job.stage.value,
            "key": job.key,
            "input": job.subject,
            "state": "done" if library.exists(job.stage.kind, job.key) else "to do",
        }
        for job in plan.jobs
    ]
    counts = {stage.value: {"to_do": todo, "done": done} for stage, (todo, done) in plan.counts(library).items()}
    text = [table(("stage", "key", "input", "state"), (item.values() for item in items))] if items else []
    told = [f"{stage}: {count['to_do']} to do, {count['done']} done" for stage, count in counts.items()]
    facts = {"plan": items, "counts": counts, "failed": _failed(plan.failed)}
    answer(facts, as_json=run.json, text=[*text, *told])
    tell_failures(plan.failed)


def tell_outcomes(outcomes: Sequence[Outcome], stage: Stage, seconds: float, run: Run) -> None:
    """The answer of a run: keys of the results of `stage`, and what failed of all stages.

    Raises:
        Exit: with code 1 if some items failed.
    """
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    ends = [outcome for outcome in outcomes if outcome.stage is stage]
    facts = {
        "done": [outcome.key for outcome in ends if outcome.status == "done"],
        "skipped": [outcome.key for outcome in ends if outcome.status == "skipped"],
        "failed": _failed(failed),
        "seconds": seconds,
        "items": [
            {
                "stage": outcome.stage.value,
                "key": outcome.key,
                "input": outcome.subject,
                "status": outcome.status,
                "seconds": outcome.seconds,
                "figures": dict(outcome.summary),
            }
            for outcome in outcomes
        ],
    }
    rows = (
        (o.stage.value, o.subject, o.key, o.status, f"{o.seconds:.0f}" if o.seconds else "")
        for o in outcomes
        if o.status != "failed"
    )
    text = [table(("stage", "input", "key", "status", "#seconds"), rows)]
    answer(facts, as_json=run.json, text=[*text, f"{seconds:.0f} s"])
    tell_failures(failed)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _failed(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    return [
        {
            "input": outcome.subject,
            "stage": outcome.stage.value,
            "reason": str(outcome.reason or ""),
            "message": outcome.message,
        }
        for outcome in outcomes
    ]


def tell_failures(failed: Sequence[Outcome]) -> None:
    """Name the items that failed on standard error."""
    for outcome in failed:
        note(
            f"[red]failed[/red] {outcome.stage.value} [bold]{escape(outcome.subject)}[/bold]: {escape(outcome.message)}"
        )
