"""Commands that recombine people: synthesize, personalize, transfer."""

from __future__ import annotations

from typing import Annotated

import typer

from pegasus_ray.cli.options import AttributesOption, Run, assignments_of, attributes_of, command
from pegasus_ray.cli.running import carry_out

PANEL = "Recombine them"  # heading of these commands in `pegasus --help`

Target = Annotated[str, typer.Option("--target", metavar="AVATAR", help="The target's avatar: its key or name.")]
Avatars = Annotated[
    str,
    typer.Option("--avatars", metavar="NAMES", help="Who lends: keys or names, separated by commas; all by default."),
]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for function in (synthesize, personalize, transfer):
        app.command(function.__name__, rich_help_panel=PANEL)(function)


@command
def synthesize(target: Target, attributes: AttributesOption = "", avatars: Avatars = "", *, run: Run) -> None:
    """Give the target's frames other people's attributes, one at a time. Makes swaps.

    One swap for each avatar and each attribute that it is there to give; --plan lists them.

    Example: pegasus synthesize --target franck --attributes hair,nose --library people
    """
    from pegasus_ray.jobs.plan import plan_swaps

    wanted, lenders = attributes_of(attributes), _names(avatars)
    catalogue = run.catalogue()
    plan = plan_swaps(catalogue, target, run.pipeline(), attributes=wanted, avatars=lenders, keep_stale=run.keep_stale)
    carry_out(plan, catalogue, run)


@command
def personalize(target: Target, attributes: AttributesOption = "", avatars: Avatars = "", *, run: Run) -> None:
    """Train the target's generative avatar on its own frames and its swaps. Makes a model.

    Takes the swaps that synthesize made with the same options.

    Example: pegasus personalize --target franck --library people
    """
    from pegasus_ray.jobs.plan import plan_personalize

    wanted, lenders = attributes_of(attributes), _names(avatars)
    catalogue = run.catalogue()
    plan = plan_personalize(
        catalogue, target, run.pipeline(), attributes=wanted, avatars=lenders, keep_stale=run.keep_stale
    )
    carry_out(plan, catalogue, run)


@command
def transfer(
    source: Annotated[
        str, typer.Option("--source", metavar="KEY", help="Who gives: an avatar or a generative avatar, key or name.")
    ],
    user: Annotated[
        str, typer.Option("--user", metavar="AVATARS", help="Who gets it: keys or names, separated by commas.")
    ],
    attributes: AttributesOption,
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code",
            metavar="ATTRIBUTE=AVATAR",
            help="Of a generative source: whose code to take an attribute under; may be repeated.",
        ),
    ] = None,
    *,
    run: Run,
) -> None:
    """Put attributes on new users' avatars at once, without any training. Makes an avatar of each that wears them.

    Example: pegasus transfer --source 5b0c --user anna --attributes hair --code hair=bert --library people
    """
    from pegasus_ray.jobs.plan import plan_transfer

    wanted, codes = attributes_of(attributes), assignments_of(code or [])
    catalogue, users = run.catalogue(), _names(user)
    plan = plan_transfer(
        catalogue, source, users, run.pipeline(), attributes=wanted, codes=codes, keep_stale=run.keep_stale
    )
    carry_out(plan, catalogue, run)


def _names(text: str) -> list[str]:
    """The names in a list separated by commas."""
    return [name for part in text.split(",") if (name := part.strip())]
