"""Keys derived from content, so that the same work has the same key on every machine.

A key is the first 16 hex digits of a sha256 over the inputs' digests, the configuration, the digests of the models used
and the format's version. The code's version is not part of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path, PurePath

import numpy as np

from pegasus_ray.schemas.errors import PegasusError, Reason

KEY_DIGITS = 16  # hex digits of a key
_BLOCK_BYTES = 1 << 20  # read from a file at once


def to_json_types(value: object) -> object:
    """A value in JSON types: a dataclass becomes an object, an enumeration its value, a path its POSIX form, a set a sorted list.

    Raises:
        PegasusError: BAD_CONFIG for NaN and infinities, for names that are not text, and for types that could be written in
            several ways.
    """
    if value is None or (isinstance(value, bool | int) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return to_json_types(value.value)
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PegasusError(Reason.BAD_CONFIG, f"{value} cannot be part of a key; give a finite number")
        return value + 0.0  # −0.0 and 0.0 are the same configuration
    if isinstance(value, np.generic):
        return to_json_types(value.item())
    if isinstance(value, PurePath):
        return value.as_posix()
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json_types(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {_setting_name(name): to_json_types(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_types(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json_types(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    raise PegasusError(Reason.BAD_CONFIG, f"a {type(value).__name__} cannot be part of a key; use numbers, text, lists")


def canonical_json(value: object) -> str:
    """A value as canonical JSON: equal values give equal text.

    Names are sorted, there is no white space, all is ASCII, and floats are the shortest that read back the same.
    """
    return json.dumps(to_json_types(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(data: bytes) -> str:
    """sha256 of some bytes, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def digest_file(path: Path) -> str:
    """sha256 of a file's content, 64 hex digits.

    Raises:
        PegasusError: NOT_FOUND if there is no such file.
    """
    seen = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                seen.update(block)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise PegasusError(Reason.NOT_FOUND, "no such file; check the path", subject=str(path)) from error
    return seen.hexdigest()


def key_of(
    kind: str,
    inputs: Mapping[str, str],
    config: object,
    models: Mapping[str, str] | None = None,
    *,
    format_version: int,
) -> str:
    """The key of a piece of work.

    Args:
        kind: what is made: a `Kind` of the library, or part of one (a shard).
        inputs: by name, the digests of input files and the keys of results that it is made from.
        config: the configuration: a dataclass or a mapping.
        models: by name, the digests of the model files used.
        format_version: `FORMAT_VERSIONS[kind]`.

    Returns:
        16 hex digits.
    """
    return keys_of(kind, inputs, config, models, format_versions=(format_version,))[0]


def keys_of(
    kind: str,
    inputs: Mapping[str, str],
    config: object,
    models: Mapping[str, str] | None = None,
    *,
    format_versions: Sequence[int],
) -> list[str]:
    """As `key_of`, for several versions of the format."""
    text = canonical_json([kind, inputs, config, models or {}])
    return [digest(f"{text[:-1]},{version}]".encode("ascii"))[:KEY_DIGITS] for version in format_versions]


def _setting_name(name: object) -> str:
    if isinstance(name, Enum):
        name = name.value
    if not isinstance(name, str):
        raise PegasusError(Reason.BAD_CONFIG, f"{name!r} names a setting, but names are text")
    return name
