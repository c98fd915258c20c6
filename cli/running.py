"""Carrying out a plan and printing how it went, the same for every command that makes something."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer
from rich.markup import escape

from pegasus_ray.cli.options import SOME_FAILED, Run
from pegasus_ray.cli.output import answer, jobs_progress, note, table
from pegasus_ray.library.records.pace import hours_of_work
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.manifests import Stage

if TYPE_CHECKING:
    from pegasus_ray.engine.schedule import More
    from pegasus_ray.jobs.plan import WorkPlan
    from pegasus_ray.jobs.work import Outcome
    from pegasus_ray.library.records.catalogue import Catalogue


def carry_out(
    plan: WorkPlan,
    catalogue: Catalogue,
    run: Run,
    *,
    after: Callable[[], object] | None = None,
    more: More | None = None,
) -> None:
    """Carry out a plan and print the outcomes; with `--plan` only print the plan.

    Args:
        plan: what to do.
        catalogue: what there is, by which it was planned.
        run: where and how.
        after: called between carrying out and printing.
        more: gives the jobs that follow from an outcome, see `run_plan`.

    Raises:
        Exit: with code 1 if some items failed.
    """
    for remark in plan.remarks:
        note(escape(remark))
    from pegasus_ray.engine.run_plan import look_ahead, run_plan

    if run.plan:
        print_plan(look_ahead(plan, catalogue, more) if more else plan, catalogue, run)
        return
    began = time.monotonic()
    with jobs_progress() as on_event:
        outcomes = run_plan(plan, catalogue, run.engine_config(), on_event, more=more)
    if after is not None:
        after()
    print_outcomes(outcomes, plan.stage, time.monotonic() - began, run)


def prepare(plan: WorkPlan, run: Run) -> bool:
    """Carry out what an examination needs; with `--plan` only print the plan.

    Returns:
        whether everything is there now; with `--plan` it is not.

    Raises:
        Exit: with code 1 where some items failed, after naming them: the others alone are not examined.
    """
    catalogue = run.catalogue()
    if run.plan:
        print_plan(plan, catalogue, run)
        return False
    from pegasus_ray.engine.run_plan import run_plan

    with jobs_progress() as on_event:
        outcomes = run_plan(plan, catalogue, run.engine_config(), on_event)
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    if failed:
        print_failures(failed)
        raise typer.Exit(SOME_FAILED)
    return True


def print_plan(plan: WorkPlan, catalogue: Catalogue, run: Run) -> None:
    """Print which items of a plan are done and which are to do, and their counts by stage."""
    items = [
        {
            "stage": job.stage.value,
            "key": job.key,
            "input": job.subject,
            "state": "done" if catalogue.get(job.stage.kind, job.key) else "to do",
        }
        for job in plan.jobs
    ]
    counts = {stage.value: {"to_do": todo, "done": done} for stage, (todo, done) in plan.counts(catalogue).items()}
    history = Ledger(catalogue.library).history if any(count["to_do"] for count in counts.values()) else ()
    hours = {name: hours_of_work(history, Stage(name), count["to_do"]) for name, count in counts.items()}
    text = [table(("stage", "key", "input", "state"), (item.values() for item in items))] if items else []
    lines = [
        f"{stage}: {count['to_do']} to do, {count['done']} done{_hours(hours[stage])}"
        for stage, count in counts.items()
    ]
    facts = {
        "plan": items,
        "counts": counts,
        "hours_of_work": hours,
        "failed": _failure_facts(plan.failed),
        "remarks": list(plan.remarks),
    }
    answer(facts, as_json=run.json, text=[*text, *lines])
    print_failures(plan.failed)


def _hours(spread: tuple[float, float] | None) -> str:
    """The work of a stage as a person reads it, by what such items took in this library so far."""
    if spread is None or not spread[1]:
        return ""
    low, high = spread
    if high < 1:
        return f"; {60 * low:.1f}–{60 * high:.1f} minutes of one worker"
    return f"; {low:.1f}–{high:.1f} hours of one worker"


def print_outcomes(outcomes: Sequence[Outcome], stage: Stage, seconds: float, run: Run) -> None:
    """Print the answer of a run: the keys of the results of `stage`, and the failures of all stages.

    Raises:
        Exit: with code 1 if some items failed.
    """
    failed = [outcome for outcome in outcomes if outcome.status == "failed"]
    ends = [outcome for outcome in outcomes if outcome.stage is stage]
    facts = {
        "done": [outcome.key for outcome in ends if outcome.status == "done"],
        "skipped": [outcome.key for outcome in ends if outcome.status == "skipped"],
        "failed": _failure_facts(failed),
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
    print_failures(failed)
    if failed:
        raise typer.Exit(SOME_FAILED)


def _failure_facts(outcomes: Sequence[Outcome]) -> list[dict[str, str]]:
    """For `--json`: what failed, and why."""
    return [
        {
            "input": outcome.subject,
            "stage": outcome.stage.value,
            "reason": str(outcome.reason or ""),
            "message": outcome.message,
        }
        for outcome in outcomes
    ]


def print_failures(failed: Sequence[Outcome]) -> None:
    """Print the items that failed, and why, on standard error."""
    for outcome in failed:
        note(
            f"[red]failed[/red] {outcome.stage.value} [bold]{escape(outcome.subject)}[/bold]: {escape(outcome.message)}"
        )
