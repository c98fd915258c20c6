"""Commands that look after a library: status, retry, verify, gc."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pegasus_ray.cli.options import SOME_FAILED, Place, command
from pegasus_ray.cli.output import answer, note, table
from pegasus_ray.cli.watch import watch_library
from pegasus_ray.library.migrate import adopt
from pegasus_ray.library.migrate import migrate as migrate_library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger, status
from pegasus_ray.library.sweep import GRACE_SECONDS, sweep
from pegasus_ray.library.verify import verify as verify_library
from pegasus_ray.schemas.manifests import Kind, ResultEntry
from pegasus_ray.schemas.parts import Attribute

PANEL = "The library"  # heading of these commands in `pegasus --help`
RESULTS_SHOWN = 50
"""Results of a kind, and failures, that `status` shows to people; `--json` lists all."""


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for name, function in (
        ("status", print_status),
        ("retry", retry),
        ("verify", verify),
        ("migrate", migrate),
        ("gc", gc),
    ):
        app.command(name, rich_help_panel=PANEL)(function)


@command
def print_status(
    watch: Annotated[
        float,
        typer.Option(
            "--watch", metavar="SECONDS", help="Again and again until nothing is left to do: rates, and the time left."
        ),
    ] = 0.0,
    *,
    place: Place,
) -> None:
    """What a library holds, what is at work, what waits, what failed.

    With --watch, --json answers with a line for each look.

    Example: pegasus status --library demo/library
    """
    if watch > 0:
        watch_library(place, watch)
        return
    catalogue = place.catalogue()
    ledger = Ledger(catalogue.library)
    counts = {stage.value: asdict(found) for stage, found in status(catalogue, ledger).items()}
    held = {kind: catalogue.entries(kind) for kind in Kind}
    failed = [
        {"input": e.subject, "stage": e.stage.value, "reason": e.reason, "message": e.message, "key": e.key}
        for e in ledger.failures(catalogue)
    ]
    if place.json:
        results = {kind.value: [_result_facts(catalogue, entry) for entry in held[kind]] for kind in Kind}
        answer({**counts, "results": results, "failures": failed}, as_json=True)
        return
    columns = ("stage", *(f"#{name}" for name in next(iter(counts.values()))))
    text: list[object] = [table(columns, ([stage, *numbers.values()] for stage, numbers in counts.items()))]
    rows = [_result_row(catalogue, entry) for kind in Kind for entry in held[kind][:RESULTS_SHOWN]]
    if rows:
        text += ["", table(("kind", "key", "name", "attributes"), rows)]
    text += [
        f"… and {len(held[kind]) - RESULTS_SHOWN:,} more {kind}; --json lists them all"
        for kind in Kind
        if len(held[kind]) > RESULTS_SHOWN
    ]
    if failed:
        shown = failed[:RESULTS_SHOWN]
        text += ["", table(("input", "stage", "reason", "message", "key"), (item.values() for item in shown))]
        if len(failed) > RESULTS_SHOWN:
            text.append(f"… and {len(failed) - RESULTS_SHOWN:,} more failures; --json lists them all")
    answer({}, as_json=False, text=text)


def _result_facts(catalogue: Catalogue, entry: ResultEntry) -> dict[str, object]:
    """For `--json`: what people need to know of a result."""
    return {
        "key": entry.key,
        "name": catalogue.name(entry),
        "source": entry.source,
        "people": [{"name": person.name, "consent": person.consent} for person in catalogue.people(entry)],
        "attributes": [attribute.value for attribute in _gives(catalogue, entry)],
        "stale": entry.is_stale,
        "smaller": bool(entry.instead_of),
    }


def _result_row(catalogue: Catalogue, entry: ResultEntry) -> tuple[str, ...]:
    """A result in the table for people."""
    marks = [word for word, holds in (("stale", entry.is_stale), ("smaller", entry.instead_of)) if holds]
    name = catalogue.name(entry) + (f" ({', '.join(marks)})" if marks else "")
    return entry.kind.value, entry.key, name, ", ".join(_gives(catalogue, entry))


def _gives(catalogue: Catalogue, entry: ResultEntry) -> tuple[Attribute, ...]:
    return catalogue.lends(entry) if entry.kind is Kind.AVATARS else entry.attributes


@command
def retry(
    references: Annotated[
        list[str] | None, typer.Argument(metavar="KEY", help="Keys or inputs set aside; all without any.")
    ] = None,
    *,
    place: Place,
) -> None:
    """Let the next run try again what was set aside after its worker died or ran out of memory too often.

    Items that failed for other reasons are tried by every run anyway.

    Example: pegasus retry 0f3a --library demo/library
    """
    from pegasus_ray.engine.retry import let_retry

    released = let_retry(place.open(), references or [])
    items = [{"key": event.key, "stage": event.stage.value, "input": event.subject} for event in released]
    text = [table(("key", "stage", "input"), (item.values() for item in items))] if items else ["Nothing is set aside."]
    answer({"released": items}, as_json=place.json, text=text)


@command
def verify(
    adopted: Annotated[
        bool, typer.Option("--adopt", help="Mark a library that an earlier release made: only then is it written to.")
    ] = False,
    *,
    place: Place,
) -> None:
    """Read a whole library and compare it with its manifests. Exit code 1 if something is not what was written.

    Example: pegasus verify --library demo/library
    """
    library = place.open()
    if adopted:
        adopt(library)
    found = verify_library(library)
    text = [f"{found.manifests} manifests, {found.rows_checked} rows: {len(found.bad)} bad", *found.bad]
    text += [f"{name}: written by a later version of pegasus-ray, not looked into" for name in found.later]
    facts = {
        "manifests": found.manifests,
        "bad": list(found.bad),
        "later": list(found.later),
        "rows_checked": found.rows_checked,
    }
    answer(facts, as_json=place.json, text=text)
    if found.bad:
        note("Remove the folders of what is bad and run again the command that made it.")
        raise typer.Exit(SOME_FAILED)


@command
def migrate(place: Place) -> None:
    """Convert a library of the last format. Results keep their keys and are not made anew; the way back is a copy.

    Example: pegasus migrate --library people
    """
    done = migrate_library(place.open())
    text = [f"{done.manifests} manifests and {done.events} events of the ledger are in today's form"]
    text += [f"{name}: its manifest is not of the last format; left as it is" for name in done.left]
    answer({"manifests": done.manifests, "events": done.events, "left": list(done.left)}, as_json=place.json, text=text)


@command
def gc(
    grace: Annotated[
        float, typer.Option("--grace", metavar="HOURS", help="Leave alone what is younger: a run may be at work on it.")
    ] = GRACE_SECONDS / 3600,
    empty: Annotated[bool, typer.Option("--empty", help="Empty the trash at once, which frees the room.")] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be swept, and do nothing.")] = False,
    *,
    place: Place,
) -> None:
    """Sweep what killed runs left behind: files that no manifest names, checkpoints of no use.

    They go to the library's trash, which is emptied of what has lain there for a day.

    Example: pegasus gc --plan --library demo/library
    """
    done = sweep(place.open(), grace * 3600, empty=empty, dry_run=plan)
    word = "would be " if plan else ""
    text = [
        *done.moved,
        f"{len(done.moved)} {word}moved to the trash, {len(done.emptied)} of it {word}removed for good",
    ]
    answer({"swept": list(done.moved), "emptied": list(done.emptied), "plan": plan}, as_json=place.json, text=text)
