"""The command that runs a plan file: from sources to dressed users, as one graph of jobs."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from pegasus_ray.cli.options import SOME_FAILED, Run, command
from pegasus_ray.cli.output import note
from pegasus_ray.cli.running import carry_out, print_failures
from pegasus_ray.stages.settings import merge

PANEL = "Recombine them"


def add_to(app: typer.Typer) -> None:
    """Register this file's command."""
    app.command("run", rich_help_panel=PANEL)(run_file)


@command
def run_file(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(metavar="PLAN", help="A TOML file: who lends, who gets a model, who is dressed in what.")
    ],
    *,
    run: Run,
) -> None:
    """Do all that a plan file asks for, each thing as soon as what it needs is there. Makes tracks up to dressed users.

    The file names sources, targets and users; docs/examples/plan.toml shows every key. What fails costs itself alone: models are
    made from the other sources. The same command again does only what is missing. --preset, --config and --set go before what
    the file says.

    Example: pegasus run plan.toml --library people
    """
    from pegasus_ray.jobs.recipe import Recipe, read_plan_file

    said = read_plan_file(file)
    source = context.get_parameter_source("preset")
    preset = said.preset if said.preset and (source is None or source.name == "DEFAULT") else run.preset
    options = {option.name: getattr(run, option.name) for option in fields(Run)} | {"preset": preset}
    run = _RunOfFile(**options, settings=dict(said.settings))
    catalogue, recipe = run.catalogue(), Recipe(said, run.pipeline(), keep_stale=run.keep_stale)

    def tell() -> None:
        """Say what was made with less than was asked for, and what could not be planned."""
        for remark in recipe.remarks:
            note(escape(remark))
        print_failures(recipe.failed)

    carry_out(recipe.first(catalogue), catalogue, run, after=tell, more=recipe.more)
    if recipe.failed:
        raise typer.Exit(SOME_FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class _RunOfFile(Run):
    """The options of a run, which change what the file says about settings."""

    settings: dict[str, Any] = field(default_factory=dict)

    def changes(self, flags: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `Settings.changes`."""
        return merge(self.settings, Run.changes(self, flags))
