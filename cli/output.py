"""What commands print: one answer on standard output, everything else on standard error."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic_core import to_json
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBars
from rich.table import Table

from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.progress import Progress

if TYPE_CHECKING:
    from pegasus_ray.jobs.work import Event, OnEvent

JSON_DIGITS = 6
"""Digits after the point of the numbers in a JSON answer."""
BAR_COLUMNS = (
    SpinnerColumn(),
    TextColumn("{task.fields[stage]}", style="dim"),
    TextColumn("{task.description}"),
    BarColumn(bar_width=24),
    TextColumn("{task.fields[text]}", style="dim"),
    TimeElapsedColumn(),
)


def answer(facts: Mapping[str, object], *, as_json: bool, text: Iterable[object] = ()) -> None:
    """Print a command's answer: the facts as one JSON object, or the text for a person."""
    if as_json:
        sys.stdout.write(to_json(_rounded(facts), indent=1).decode() + "\n")  # json.dumps is slow with an indent
        return
    console = Console()
    for line in text:
        console.print(line, highlight=False, soft_wrap=isinstance(line, str))


def note(text: str) -> None:
    """Print a line on standard error; `text` may hold rich's markup."""
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


def report_error(error: PegasusError, *, as_json: bool) -> None:
    """Print what went wrong and the way out; as JSON also on standard output."""
    if as_json:
        facts = {"subject": error.subject, "reason": error.reason.value, "message": error.message}
        answer({"error": facts}, as_json=True)
    subject = f"[bold]{escape(error.subject)}[/bold]: " if error.subject else ""
    note(f"[red]error[/red] {subject}{escape(error.message)}")


def table(columns: Sequence[str], rows: Iterable[Iterable[object]], *, title: str = "") -> Table:
    """A table of text. Columns whose name begins with `#` hold numbers and are aligned to the right."""
    made = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="dim")
    for column in columns:
        made.add_column(column.lstrip("#"), justify="right" if column[:1] == "#" else "left", overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    return made


@contextmanager
def jobs_progress() -> Iterator[OnEvent]:
    """Progress bars on standard error, one for each item at work; where that is no terminal, a line for each that is made."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_end
        return
    with ProgressBars(*BAR_COLUMNS, console=console, transient=True) as bars:
        yield _JobBars(bars)


@contextmanager
def one_progress(stage: str, subject: str) -> Iterator[Progress]:
    """One progress bar on standard error, for work that is no job; nothing where standard error is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda share, text: None
        return
    with ProgressBars(*BAR_COLUMNS, console=console, transient=True) as bars:
        task = bars.add_task(escape(subject), total=1.0, stage=stage, text="")
        yield lambda share, text: bars.update(task, completed=share, text=escape(text))


def _print_end(event: Event) -> None:
    """Print that an item is made, or what a run waits for. Failures are printed together at the end."""
    outcome = event.outcome
    if not event.key:
        note(escape(event.text))
    elif outcome is not None and outcome.status == "done":
        note(f"done {event.stage.value} {escape(event.subject)} {outcome.seconds:.0f} s")


class _JobBars:
    """Shows a bar for each item that is at work, and prints a line when the item ends."""

    def __init__(self, bars: ProgressBars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: Event) -> None:
        outcome = event.outcome
        if not event.key:
            self._bars.console.print(f"[dim]{escape(event.text)}[/dim]")
            return
        if outcome is None:
            task = self._tasks.get(event.key)
            if task is None:
                task = self._bars.add_task(escape(event.subject), total=1.0, stage=event.stage.value, text="")
                self._tasks[event.key] = task
            self._bars.update(task, completed=event.share, text=escape(event.text))
            return
        task = self._tasks.pop(event.key, None)
        if task is not None:
            self._bars.remove_task(task)
        mark = {"done": "[green]✓[/green]", "skipped": "[dim]·[/dim]", "failed": "[red]✗[/red]"}[outcome.status]
        message = escape(outcome.message) if outcome.status == "failed" else ""
        seconds = f"[dim]{outcome.seconds:.0f} s[/dim] " if outcome.seconds >= 1 else ""
        self._bars.console.print(f"{mark} [dim]{event.stage.value}[/dim] {escape(event.subject)} {seconds}{message}")


def _rounded(value: object) -> object:
    """A JSON value with all its numbers rounded to `JSON_DIGITS`."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is no number of JSON")
        return round(value, JSON_DIGITS)
    if isinstance(value, Mapping):
        return {str(name): _rounded(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value
