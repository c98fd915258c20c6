"""Commands that recombine people: synthesize, personalize, transfer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from pegasus_ray.cli.options import AttributesOption, Run, assignments_of, attributes_of, command
from pegasus_ray.cli.running import carry_out
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage

if TYPE_CHECKING:
    from pegasus_ray.jobs.plan import WorkPlan
    from pegasus_ray.library.records.catalogue import Catalogue

PANEL = "Recombine them"  # heading of these commands in `pegasus --help`

ALL = "all"
"""In the place of targets: everybody who has an avatar."""

Targets = Annotated[
    str,
    typer.Option(
        "--target",
        metavar="AVATARS",
        help="The targets' avatars: keys or names, separated by commas; all: everybody's.",
    ),
]
Avatars = Annotated[
    str,
    typer.Option("--avatars", metavar="NAMES", help="Who lends: keys or names, separated by commas; all by default."),
]


def add_to(app: typer.Typer) -> None:
    """Register this file's commands."""
    for function in (synthesize, personalize, transfer):
        app.command(function.__name__, rich_help_panel=PANEL)(function)


@command
def synthesize(target: Targets, attributes: AttributesOption = "", avatars: Avatars = "", *, run: Run) -> None:
    """Give the targets' frames other people's attributes, one at a time. Makes swaps.

    For each target one swap for each avatar and each attribute that it is there to give; --plan lists them.

    Example: pegasus synthesize --target franck --attributes hair,nose --library people
    """
    from pegasus_ray.jobs.plan import plan_swaps

    wanted, lenders = attributes_of(attributes), _names(avatars)
    catalogue, config = run.catalogue(), run.pipeline()

    def plan_one(name: str) -> WorkPlan:
        return plan_swaps(catalogue, name, config, attributes=wanted, avatars=lenders, keep_stale=run.keep_stale)

    carry_out(_of_each(target, plan_one, Stage.SWAP, catalogue, run), catalogue, run)


@command
def personalize(target: Targets, attributes: AttributesOption = "", avatars: Avatars = "", *, run: Run) -> None:
    """Train the targets' generative avatars, each on its own frames and its swaps. Makes a model of each.

    Takes the swaps that synthesize made with the same options.

    Example: pegasus personalize --target franck --library people
    """
    from pegasus_ray.jobs.plan import plan_personalize

    wanted, lenders = attributes_of(attributes), _names(avatars)
    catalogue, config = run.catalogue(), run.pipeline()

    def plan_one(name: str) -> WorkPlan:
        return plan_personalize(catalogue, name, config, attributes=wanted, avatars=lenders, keep_stale=run.keep_stale)

    carry_out(_of_each(target, plan_one, Stage.PERSONALIZE, catalogue, run), catalogue, run)


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


def _of_each(
    targets: str, plan_one: Callable[[str], WorkPlan], stage: Stage, catalogue: Catalogue, run: Run
) -> WorkPlan:
    """One plan for all targets. Of several, one for whom nothing can be planned fails alone.

    Raises:
        PegasusError: BAD_CONFIG if nobody is named; errors of `plan_one` for a target that is the only one.
    """
    from pegasus_ray.jobs.plan import WorkPlan, everybody
    from pegasus_ray.jobs.work import Outcome

    names = _names(targets)
    remarks: tuple[str, ...] = ()
    if names == [ALL]:
        avatars, remarks = everybody(catalogue, run.pipeline(), keep_stale=run.keep_stale)
        names = [avatar.key for avatar in avatars]
    if not names:
        raise PegasusError(Reason.BAD_CONFIG, "there is nobody; name avatars, or make some first", subject="--target")
    plans, failed = [], []
    for name in dict.fromkeys(names):
        try:
            plans.append(plan_one(name))
        except PegasusError as error:
            if len(names) == 1:
                raise
            told = Outcome(stage=stage, key="", subject=error.subject or name, status="failed", reason=error.reason)
            failed.append(replace(told, message=error.message))
    return WorkPlan(
        stage=stage,
        jobs=tuple({job.key: job for plan in plans for job in plan.jobs}.values()),
        failed=tuple(failed),
        remarks=tuple(dict.fromkeys((*remarks, *(remark for plan in plans for remark in plan.remarks)))),
    )


def _names(text: str) -> list[str]:
    """The names in a list separated by commas."""
    return [name for part in text.split(",") if (name := part.strip())]
