"""The people of a library to be: videos, or tracks that are there, and what a table or the command line says about them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pegasus_ray.library.library import is_key
from pegasus_ray.library.records.recordings import EVERYTHING
from pegasus_ray.library.videos.addresses import is_remote
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

COLUMNS: Final = ("path", "attributes", "subject", "consent")
"""Columns of a table of videos (`videos.csv`); all but the first may be left out."""
ALL: Final = "all"
"""In the place of attributes: whatever the video shows, where something less was said before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A video, or a track that the library holds, and what is said about it. What is left empty stays as it was said before."""

    reference: str  # a path, or a track's key or name
    attributes: tuple[
        Attribute, ...
    ] = ()  # those that it is there to give; if nothing was ever said, whatever it shows
    subject: str = ""  # name of the person it shows; if nothing was ever said, the file's name
    consent: str = ""


def read_sources(path: Path) -> list[Source]:
    """Read a table of videos (`path, attributes, subject, consent`; attributes separated by spaces or semicolons).

    Paths are relative to the table; addresses, and keys of tracks, stand as they are.

    Raises:
        PegasusError: NOT_FOUND; BAD_CONFIG for unknown columns or attributes, with the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, skipinitialspace=True))
    except (UnicodeDecodeError, csv.Error) as error:
        message = f"is no table of text with commas ({error}); save it as CSV in UTF-8"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=str(path)) from error
    except OSError as error:
        raise PegasusError(
            Reason.NOT_FOUND, f"cannot be read ({error.strerror}); check the path", subject=str(path)
        ) from error
    return [_source_of_row(row, path, line) for line, row in enumerate(rows, start=2)]


def _source_of_row(row: Mapping[str | None, str | None], path: Path, line: int) -> Source:
    where = f"{path}, line {line}"
    unknown = [name for name in row if name not in COLUMNS]
    if unknown or not row.get("path"):
        message = f"its columns are {', '.join(COLUMNS)}, and a path must be there"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=where)
    names = (row.get("attributes") or "").replace(";", " ").replace(",", " ").split()
    for name in names:
        if name not in (*Attribute, ALL):
            message = f"{name!r} is no attribute; there are {', '.join(Attribute)}, or {ALL}"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=where)
    where_it_is = str(row["path"])
    return Source(
        reference=where_it_is if is_remote(where_it_is) or is_key(where_it_is) else str(path.parent / where_it_is),
        attributes=EVERYTHING if ALL in names else tuple(Attribute(name) for name in names),
        subject=row.get("subject") or "",
        consent=row.get("consent") or "",
    )
