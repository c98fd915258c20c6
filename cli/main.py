"""The `pegasus` command and its groups.

Exit codes: 0 all done; 1 some items failed, named, the rest done; 2 usage or environment.
"""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from pegasus_ray import __version__
from pegasus_ray.cli import bench, evaluate, ingest, maintain, recombine, render, run, setup

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in (setup, ingest, run, recombine, render, evaluate, bench, maintain):
    commands.add_to(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"pegasus-ray {__version__}")
        raise typer.Exit


@app.callback()
def pegasus(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """From talking-head videos to a library of 3D head avatars whose attributes can be recombined on anyone.

    Begin with [bold]pegasus demo[/bold], which runs the whole way on people who do not exist. Every command explains
    itself with [bold]--help[/bold] and answers machines with [bold]--json[/bold].
    """


def main() -> None:
    """The entry point of the `pegasus` command. It ends in the same way when it is asked to (SIGTERM) as by Ctrl-C."""
    signal.signal(signal.SIGTERM, _stop)
    app()


def _stop(number: int, frame: object) -> None:
    """What spot nodes, Slurm, Kubernetes and `timeout` ask for by SIGTERM."""
    raise KeyboardInterrupt
