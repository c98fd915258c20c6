"""Options that many commands share, told once: groups of them as dataclasses, which a command takes as one argument.

What is heavy to import (torch, Ray) is imported by the functions that need it, so that `--help` answers at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from pegasus_ray.cli.output import note, report_error
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.settings import merge, override, parse_assignments, read_changes

if TYPE_CHECKING:
    from pegasus_ray.stages.config import PipelineConfig

UNUSABLE = 2
"""Exit code: usage or environment."""
SOME_FAILED = 1
"""Exit code: some items failed, named; the others are done."""
STOPPED = 130
"""Exit code: interrupted from the keyboard, as shells know it."""

JsonFlag = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on standard output.")]
AttributesOption = Annotated[
    str,
    typer.Option("--attributes", metavar="NAMES", help=f"Some of {', '.join(Attribute)}, separated by commas."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the library is, and how to answer."""

    library: Annotated[
        str,
        typer.Option(
            "--library",
            "-l",
            envvar="PEGASUS_LIBRARY",
            metavar="PLACE",
            help="The library: a folder, or the address of a bucket (s3://…, gs://…).",
        ),
    ] = "./library"
    json: JsonFlag = False

    def open(self) -> Library:
        """The library, which need not be there yet."""
        return Library(self.library)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Place):
    """And what configures the stages."""

    preset: Annotated[
        str,
        typer.Option(
            "--preset", metavar="NAME", help="A set of settings to start from: fast, draft, paper, paper-small."
        ),
    ] = "fast"
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="Settings from a TOML or JSON file.")
    ] = None
    set: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="One setting, as fit.seed=3; may be repeated.")
    ] = field(default_factory=list)

    def pipeline(self, flags: dict[str, Any] | None = None) -> PipelineConfig:
        """The stages' configuration: preset, then file, then the command's own flags, then `--set`."""
        from pegasus_ray.stages.config import preset

        changes = self.changes(flags)
        return override(preset(self.preset), {name: value for name, value in changes.items() if name != "engine"})

    def changes(self, flags: dict[str, Any] | None = None) -> dict[str, Any]:
        """What file, flags and `--set` change."""
        read = read_changes(self.config) if self.config else {}
        return merge(merge(read, flags or {}), parse_assignments(self.set))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Settings):
    """What every command that makes something takes."""

    engine: Annotated[
        Literal["ray", "inline"],
        typer.Option("--engine", help="ray spreads the work over workers; inline does it here, one item at a time."),
    ] = "ray"
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="ADDRESS", help="A running Ray cluster; without it one is started here."),
    ] = None
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done and how much of it there is, and do nothing.")
    ] = False

    def spread(self) -> EngineConfig:
        """How the work is to be spread."""
        start = EngineConfig(kind=self.engine, address=self.address)
        return override(start, self.changes().get("engine", {}), within="engine")


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command: each field of a group of options becomes an option of its own, and what a user can act
    on is told in a sentence instead of a traceback.

    An expected error ends with exit code 2; with `--json` it is the answer.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    own = [
        parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(function).parameters.values()
        if parameter.name not in groups
    ]
    shared = {name: _parameters(kind) for name, kind in groups.items()}

    @wraps(function)
    def told(**given: Any) -> None:
        as_json = bool(given.get("json"))
        try:
            made = {
                name: groups[name](**{parameter.name: given.pop(parameter.name) for parameter in parameters})
                for name, parameters in shared.items()
            }
            function(**given, **made)
        except PegasusError as error:
            report_error(error, as_json=as_json)
            raise typer.Exit(UNUSABLE) from error
        except KeyboardInterrupt:
            note("stopped; the same command goes on from here")
            raise typer.Exit(STOPPED) from None

    parameters = [*own, *(parameter for group in shared.values() for parameter in group)]
    told.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    told.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return told


def attributes_of(names: str) -> tuple[Attribute, ...]:
    """The attributes in a list separated by commas; none in an empty one.

    Raises:
        PegasusError: BAD_CONFIG for a name that is none.
    """
    found = []
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name not in tuple(Attribute):
            raise PegasusError(Reason.BAD_CONFIG, f"is no attribute; there are {', '.join(Attribute)}", subject=name)
        found.append(Attribute(name))
    return tuple(dict.fromkeys(found))


def assignments_of(texts: Iterable[str]) -> dict[Attribute, str]:
    """What each attribute is given, of texts like `hair=anna`.

    Raises:
        PegasusError: BAD_CONFIG for a text of another form.
    """
    given = {}
    for text in texts:
        name, equals, value = text.partition("=")
        attributes = attributes_of(name)
        if not equals or not value or len(attributes) != 1:
            raise PegasusError(Reason.BAD_CONFIG, "write ATTRIBUTE=WHOM, as hair=anna", subject=text)
        given[attributes[0]] = value
    return given


def _parameters(group: Any) -> list[inspect.Parameter]:
    """The fields of a group of options as parameters."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            option.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=[] if option.default is MISSING else option.default,
            annotation=hints[option.name],
        )
        for option in fields(group)
    ]
