"""Options that many commands share, each defined once: as dataclasses of options, which a command takes as one argument.

Modules that are slow to import (torch, Ray) are imported inside the functions that need them, so that `--help` answers at once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from pegasus_ray.cli.output import note, report_error
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
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
PictureSize = Annotated[int, typer.Option("--size", min=16, help="Side of the pictures in pixels.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The options of every command that reads a library: where it is, and how to answer."""

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
        """The library, which need not exist yet."""
        return Library(self.library)

    def catalogue(self) -> Catalogue:
        """What the library holds. A command asks for it once."""
        return Catalogue(self.open())


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Place):
    """The options of a place, and those that configure the stages."""

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
        """The stages' configuration: the preset, changed by the file, then the command's own flags, then `--set`."""
        from pegasus_ray.stages.config import preset

        changes = self.changes(flags)
        return override(preset(self.preset), {name: value for name, value in changes.items() if name != "engine"})

    def changes(self, flags: dict[str, Any] | None = None) -> dict[str, Any]:
        """The changes by file, flags and `--set` together, later ones over earlier ones."""
        read = read_changes(self.config) if self.config else {}
        return merge(merge(read, flags or {}), parse_assignments(self.set))


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Settings):
    """The options of every command that makes something: settings, and how the work is carried out."""

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
    keep_stale: Annotated[
        bool,
        typer.Option(
            "--keep-stale", help="Take what an earlier release made of the same work, and say so in what follows."
        ),
    ] = False

    def engine_config(self) -> EngineConfig:
        """The engine's configuration: the two options, changed by file and `--set`."""
        start = EngineConfig(kind=self.engine, address=self.address)
        return override(start, self.changes().get("engine", {}), within="engine")


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a function a command.

    Where a parameter is a dataclass of options, each of its fields becomes an option of the command, in the parameter's place.
    Errors that a user can do something about are printed as a sentence instead of a traceback, and end with exit code 2; with
    `--json` they are the answer.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    options_of = {name: _parameters(kind) for name, kind in groups.items()}
    parameters: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        own = parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
        parameters += options_of.get(parameter.name, [own])

    @wraps(function)
    def run_command(**given: Any) -> None:
        as_json = bool(given.get("json"))
        try:
            grouped = {
                name: groups[name](**{option.name: given.pop(option.name) for option in options})
                for name, options in options_of.items()
            }
            function(**given, **grouped)
        except PegasusError as error:
            report_error(error, as_json=as_json)
            raise typer.Exit(UNUSABLE) from error
        except KeyboardInterrupt:
            note("stopped; the same command goes on from here")
            raise typer.Exit(STOPPED) from None

    run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run_command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run_command


def group_of(about: str, commands: Mapping[str, Callable[..., None]]) -> typer.Typer:
    """A group of commands by name, with `about` as its help."""
    group = typer.Typer(help=about, no_args_is_help=True, rich_markup_mode="rich")
    for name, function in commands.items():
        group.command(name)(function)
    return group


def attributes_of(names: str) -> tuple[Attribute, ...]:
    """The attributes in a list separated by commas, each once; none in an empty one.

    Raises:
        PegasusError: BAD_CONFIG for a name that is no attribute.
    """
    found = []
    for name in filter(None, (name.strip() for name in names.split(","))):
        if name not in tuple(Attribute):
            raise PegasusError(Reason.BAD_CONFIG, f"is no attribute; there are {', '.join(Attribute)}", subject=name)
        found.append(Attribute(name))
    return tuple(dict.fromkeys(found))


def assignments_of(texts: Iterable[str]) -> dict[Attribute, str]:
    """The attributes and values of texts like `hair=anna`.

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
    """The fields of a dataclass of options as keyword parameters."""
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
