"""Commands to begin with: demo, doctor, assets, and the group rig."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape

from pegasus_ray.cli import rig
from pegasus_ray.cli.options import SOME_FAILED, UNUSABLE, JsonFlag, Place, command, group_of
from pegasus_ray.cli.output import answer, jobs_progress, one_progress, table
from pegasus_ray.cli.running import print_failures

PANEL = "Begin"  # heading of these commands in `pegasus --help`


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    app.command("demo", rich_help_panel=PANEL)(demo)
    app.command("doctor", rich_help_panel=PANEL)(doctor)
    commands = {"list": list_assets, "fetch": fetch_assets}
    assets = group_of("Model files and sample videos: list them, fetch them.", commands)
    app.add_typer(assets, name="assets", rich_help_panel=PANEL)
    rig.add_to(app, PANEL)


@command
def demo(
    folder: Annotated[Path, typer.Option("--folder", metavar="FOLDER", help="Where everything is put.")] = Path("demo"),
    engine: Annotated[
        Literal["ray", "inline"],
        typer.Option("--engine", help="ray spreads the work; inline does it here, one by one."),
    ] = "ray",
    json: JsonFlag = False,
) -> None:
    """Run the whole way on people who do not exist, in a few minutes on two processors without a GPU.

    One person lends hair, nose and more to another; one is tracked from a video file like any video, the others come
    with the truth; a new user borrows at once. The same command again finds everything done.

    Example: pegasus demo --folder demo
    """
    from pegasus_ray.engine.config import EngineConfig
    from pegasus_ray.engine.demo import run_demo

    with jobs_progress() as on_event:
        shown = run_demo(folder, EngineConfig(kind=engine), on_event)
    facts = {
        "report": str(shown.report),
        "picture": str(shown.picture),
        "video": str(shown.video),
        "library": str(shown.library),
        "done": sum(outcome.status == "done" for outcome in shown.outcomes),
        "skipped": sum(outcome.status == "skipped" for outcome in shown.outcomes),
        "seconds": shown.seconds,
    }
    answer(
        facts,
        as_json=json,
        text=[
            f"{facts['done']} results made, {facts['skipped']} were there, {shown.seconds:.0f} s",
            f"report   {shown.report}",
            f"picture  {shown.picture}",
            f"video    {shown.video}",
        ],
    )
    failed = [outcome for outcome in shown.outcomes if outcome.status == "failed"]
    print_failures(failed)
    if failed:
        raise typer.Exit(SOME_FAILED)


@command
def doctor(place: Place) -> None:
    """Check whether this machine can do the work, and say what is missing. Exit code 2 if something needed is.

    Example: pegasus doctor
    """
    from pegasus_ray.engine.doctor import examine

    with one_progress("doctor", "looking around"):
        checks = examine(place.open())
    marks = {"ok": "✓", "missing": "·", "bad": "✗"}
    text = [table(("", "what", "found", "way out"), ((marks[c.state], c.name, c.found, c.way_out) for c in checks))]
    bad = [check.name for check in checks if check.state == "bad"]
    answer({"ready": not bad, "bad": bad, "checks": [asdict(c) for c in checks]}, as_json=place.json, text=text)
    if bad:
        raise typer.Exit(UNUSABLE)


@command
def list_assets(json: JsonFlag = False) -> None:
    """List the model files and sample videos, where they come from, their licence, and whether this machine has them.

    Example: pegasus assets list
    """
    from pegasus_ray.perception.assets.files import inventory

    rows: list[dict[str, Any]] = [
        {
            "name": stock.asset.name,
            "group": stock.asset.group,
            "present": stock.path is not None and not stock.corrupt,
            "state": "damaged" if stock.corrupt else "here" if stock.path else "not here",
            "size": stock.asset.size,
            "purpose": stock.asset.purpose,
            "licence": stock.asset.licence,
            "source": str(stock.asset.source),
            "sha256": stock.asset.sha256,
            "path": str(stock.path or ""),
        }
        for stock in inventory()
    ]
    answer({"assets": rows}, as_json=json, text=[line for row in rows for line in _describe_asset(row)])


def _describe_asset(row: Mapping[str, Any]) -> Iterator[str]:
    """Lines about an asset: name, size and whether it is here; what it is for; licence and source."""
    mark = {"here": "[green]✓[/green]", "damaged": "[red]✗[/red]"}.get(row["state"], "·")
    size = f"{row['size'] / 1e6:.1f} MB" if row["size"] else "size known to the Hub"
    yield f"{mark} [bold]{escape(row['name'])}[/bold]  {size}, {row['state']}"
    yield f"    {escape(row['purpose'])}"
    yield f"    [dim]{escape(row['licence'])} · {escape(row['source'])}[/dim]"


@command
def fetch_assets(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Files or groups: models (without any), sample-videos, all."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Bring model files or sample videos to this machine: from the folder PEGASUS_ASSET_MIRROR, or from their home.

    Example: pegasus assets fetch models sample-videos
    """
    from pegasus_ray.perception.assets.files import fetch

    with one_progress("assets", "fetching") as progress:
        paths = fetch(names or ["models"], progress)
    answer({"files": [str(path) for path in paths]}, as_json=json, text=[str(path) for path in paths])
