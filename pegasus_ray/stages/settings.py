"""Changing a frozen configuration by names: `fit.seed = 3` from a command line or a file, checked against the types.

A configuration is nested dataclasses; a change is nested mappings of the same names. Text from a command line is marked
as `Text` and read as the setting's own type; values from a file already have theirs.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pegasus_ray.schemas.errors import PegasusError, Reason

Config = TypeVar("Config")
Changes = Mapping[str, Any]


class Text(str):
    """A value as it was typed: `3` may be a number or a name, which the setting's type decides."""

    __slots__ = ()


def override(config: Config, changes: Changes, *, within: str = "") -> Config:
    """The configuration with some of its settings changed.

    Args:
        config: a frozen dataclass, whose fields may be dataclasses and tuples of them.
        changes: by field name, a value or the changes within. In a tuple, `{"0": …}` changes one element and a list
            replaces all.
        within: the full name of `config`, for error messages.

    Raises:
        PegasusError: BAD_CONFIG for a name that is not there, with the near ones, and for a value of another type.
    """
    return _changed(config, changes, type(config), within)  # type: ignore[no-any-return]


def parse_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """Changes from texts like `fit.seed=3`; a later one wins.

    Raises:
        PegasusError: BAD_CONFIG for a text without `=`, or a name that is both a setting and a group.
    """
    changes: dict[str, Any] = {}
    for assignment in assignments:
        path, equals, value = assignment.partition("=")
        names = [name.strip() for name in path.split(".")]
        if not equals or not all(names):
            raise PegasusError(Reason.BAD_CONFIG, "is no setting; write name=value, as fit.seed=3", subject=assignment)
        changes = merge(changes, _nested(names, Text(value.strip())))
    return changes


def read_changes(path: Path) -> dict[str, Any]:
    """Changes from a TOML or JSON file.

    Raises:
        PegasusError: NOT_FOUND; BAD_CONFIG where the file cannot be parsed, with the place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PegasusError(
            Reason.NOT_FOUND, f"cannot be read ({error.strerror}); check the path", subject=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise PegasusError(
            Reason.BAD_CONFIG, "is not text; give a TOML or JSON file of settings", subject=str(path)
        ) from error
    try:
        changes = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise PegasusError(Reason.BAD_CONFIG, f"cannot be parsed: {error}", subject=str(path)) from error
    if not isinstance(changes, dict):
        raise PegasusError(Reason.BAD_CONFIG, "holds no settings; write an object of them", subject=str(path))
    return changes


def merge(first: Changes, second: Changes) -> dict[str, Any]:
    """Both changes; where they meet, the second's."""
    merged = dict(first)
    for name, value in second.items():
        here = merged.get(name)
        merged[name] = merge(here, value) if isinstance(here, Mapping) and isinstance(value, Mapping) else value
    return merged


def describe(config: object, prefix: str = "") -> dict[str, Any]:
    """All settings by their full names, with their values: what `--set` may change."""
    if is_dataclass(config) and not isinstance(config, type):
        inside = ((field.name, getattr(config, field.name)) for field in fields(config))
    elif isinstance(config, tuple) and config and all(is_dataclass(item) for item in config):
        inside = ((str(place), item) for place, item in enumerate(config))
    else:
        return {prefix: config}
    return {full: value for name, item in inside for full, value in describe(item, _join(prefix, name)).items()}


def _nested(names: list[str], value: object) -> dict[str, Any]:
    for name in reversed(names):
        value = {name: value}
    return value  # type: ignore[return-value]


def _changed(value: Any, change: Any, annotation: Any, path: str) -> Any:
    """`value` of type `annotation` under a change."""
    annotation = _without_none(annotation) if isinstance(change, Mapping) else annotation
    if isinstance(change, Mapping) and is_dataclass(annotation):
        return _changed_dataclass(value, change, annotation, path)
    if isinstance(change, Mapping) and get_origin(annotation) is tuple:
        return _changed_elements(value, change, annotation, path)
    return _read(change, annotation, path)


def _changed_dataclass(value: Any, change: Changes, annotation: Any, path: str) -> Any:
    types = get_type_hints(annotation)
    known = {field.name: field for field in fields(annotation)}
    for name in change:
        if name not in known:
            raise _unknown(name, list(known), path)
    made = {
        name: _changed(getattr(value, name, None), inner, types[name], _join(path, name))
        for name, inner in change.items()
    }
    if isinstance(value, annotation):
        return replace(value, **made)
    for name, field in known.items():
        if name not in made and field.default is MISSING and field.default_factory is MISSING:
            raise PegasusError(Reason.BAD_CONFIG, f"lacks {name}; give it too", subject=path)
    return annotation(**made)


def _changed_elements(value: Any, change: Changes, annotation: Any, path: str) -> Any:
    items = list(value)
    for name, inner in change.items():
        if not name.isdecimal() or int(name) >= len(items):
            message = f"has no {name}; its elements are 0 to {len(items) - 1}"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=path)
        place = int(name)
        items[place] = _changed(items[place], inner, _element(annotation, place), _join(path, name))
    return tuple(items)


def _read(given: Any, annotation: Any, path: str) -> Any:
    """A value as a type: text as it was typed is parsed, anything else must fit already."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return _read_one_of(given, get_args(annotation), annotation, path)
    if origin is Literal:
        return _choose(given, {str(choice): choice for choice in get_args(annotation)}, path)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return _choose(given, {str(member.value): member for member in annotation}, path)
    if annotation in (str, Path) and isinstance(given, str):
        return annotation(str(given))
    parsed = _parsed(given) if isinstance(given, Text) else given
    if origin is tuple and isinstance(parsed, list | tuple) and _has_room(annotation, len(parsed)):
        return tuple(
            _changed(None, item, _element(annotation, place), _join(path, str(place)))
            for place, item in enumerate(parsed)
        )
    if annotation is float and isinstance(parsed, int | float) and not isinstance(parsed, bool):
        return float(parsed)
    if annotation in (int, bool) and type(parsed) is annotation:
        return parsed
    if annotation is NoneType and (given == "none" or given is None):
        return None
    raise PegasusError(Reason.BAD_CONFIG, f"{str(given)!r} is not {_named(annotation)}", subject=path)


def _read_one_of(given: Any, choices: tuple[Any, ...], annotation: Any, path: str) -> Any:
    # None first, or the word "none" would be read as a text.
    for choice in sorted(choices, key=lambda choice: choice is not NoneType):
        try:
            return _read(given, choice, path)
        except PegasusError:
            continue
    raise PegasusError(Reason.BAD_CONFIG, f"{str(given)!r} is not {_named(annotation)}", subject=path)


def _choose(given: object, choices: Mapping[str, object], path: str) -> object:
    if str(given) not in choices:
        message = f"{str(given)!r} is none of {', '.join(choices)}"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=path)
    return choices[str(given)]


def _parsed(text: Text) -> object:
    """Text as TOML reads a value; itself where it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return str(text)


def _element(annotation: Any, place: int) -> Any:
    """The type of a tuple's element."""
    types = get_args(annotation)
    return types[0] if types[-1] is Ellipsis else types[min(place, len(types) - 1)]


def _has_room(annotation: Any, count: int) -> bool:
    """Whether a tuple of that type may have `count` elements."""
    types = get_args(annotation)
    return types[-1] is Ellipsis or len(types) == count


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    rest = [choice for choice in get_args(annotation) if choice is not NoneType]
    return rest[0] if len(rest) == 1 else annotation


def _named(annotation: Any) -> str:
    """A type's name in an error message."""
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_named(choice) for choice in get_args(annotation))
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", NoneType: "none"}
    if is_dataclass(annotation):
        return "a group of settings: " + ", ".join(field.name for field in fields(annotation))
    if get_origin(annotation) is tuple:
        types = get_args(annotation)
        count = "" if types[-1] is Ellipsis else f" of {len(types)}"
        return f"a list{count}, each {_named(types[0])}"
    return words.get(annotation) or str(annotation)


def _unknown(name: str, known: list[str], path: str) -> PegasusError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return PegasusError(Reason.BAD_CONFIG, f"there is no such setting; {hint}", subject=_join(path, name))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
