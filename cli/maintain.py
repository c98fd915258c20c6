"""Commands that look after a library: status, retry, verify, gc."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from pegasus_ray.cli.options import SOME_FAILED, Place, command
from pegasus_ray.cli.output import answer, note, table
from pegasus_ray.library.ledger import failures, status
from pegasus_ray.library.library import is_stale
from pegasus_ray.library.sweep import GRACE_SECONDS, sweep
from pegasus_ray.library.verify import adopt
from pegasus_ray.library.verify import verify as verify_library
from pegasus_ray.schemas.manifests import Kind

PANEL = "The library"  # heading of these commands in `pegasus --help`


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for name, function in (("status", print_status), ("retry", retry), ("verify", verify), ("gc", gc)):
        app.command(name, rich_help_panel=PANEL)(function)


@command
def print_status(place: Place) -> None:
    """What a library holds, what is at work, what waits, what failed.

    Example: pegasus status --library demo/library
    """
    library = place.open()
    counts = {stage.value: asdict(found) for stage, found in status(library).items()}
    held = {kind: list(library.manifests(kind)) for kind in Kind}
    results = {
        kind.value: [
            {
                "key": m.key,
                "source": m.source,
                "attributes": [attribute.value for attribute in m.attributes],
                "stale": is_stale(m),
            }
            for m in held[kind]
        ]
        for kind in Kind
    }
    failed = [
        {"input": e.subject, "stage": e.stage.value, "reason": e.reason, "message": e.message, "key": e.key}
        for e in failures(library)
    ]
    columns = ("stage", "#done", "#stale", "#running", "#waiting", "#failed", "#quarantined")
    text: list[object] = [table(columns, ([stage, *numbers.values()] for stage, numbers in counts.items()))]
    rows = [
        (m.kind.value, m.key, f"{m.source} (stale)" if is_stale(m) else m.source, ", ".join(m.attributes))
        for kind in Kind
        for m in held[kind]
    ]
    if rows:
        text += ["", table(("kind", "key", "source", "attributes"), rows)]
    if failed:
        text += ["", table(("input", "stage", "reason", "message", "key"), (item.values() for item in failed))]
    answer({**counts, "results": results, "failures": failed}, as_json=place.json, text=text)


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
