"""The rows of a library's tables as arrays: which columns there are, and how a file of them is read, checked and decoded.

Legend: S side of the square pictures in pixels, K shape axes, E expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pegasus_ray.library.columns import decode_columns, list_array
from pegasus_ray.library.images import DEPTH, GREY, RGB, steps_to_depth
from pegasus_ray.library.library import Library
from pegasus_ray.library.parquet import check_complete
from pegasus_ray.library.payloads import read_payload
from pegasus_ray.library.swaps import read_swap_table
from pegasus_ray.library.tracks import read_track_table
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest
from pegasus_ray.schemas.tables import OK, swap_schema, track_schema

Row = dict[str, Any]
"""A frame: arrays, numbers and text by the names of columns, with `result` (its key) and `consent` added."""

Order = Callable[[int], np.random.Generator]
"""What mixes the rows of a file, by the file's place among those that are read."""

ROWS_AT_ONCE: Final = 8
"""Rows whose pictures are decoded together, side by side."""
MANIFESTS_KEPT: Final = 64
"""Manifests that stay in memory, because the files of one result are read at different times when their order is mixed."""

_FORMS: Final = {
    "image": RGB,
    "matte": GREY,
    "parts": GREY,
    "depth": DEPTH,
    "normals": RGB,
    "part_mask": GREY,
    "object_mask": GREY,
    "target_normals": RGB,
    "source_normals": RGB,
}
"""Pixels of the picture columns, which a file may not change."""
_BESIDE: Final = ("status", "error")  # columns about the making of a row; rows that failed are left out


@dataclass(frozen=True, slots=True, kw_only=True)
class TableForm:
    """What the tables of one kind hold."""

    columns: tuple[str, ...]  # all that can be asked for
    optional: tuple[str, ...]  # those of them that not every result has
    read: Callable[[bytes, str, Collection[str]], pa.Table]  # a file, its name for messages, the columns


def _without(names: Sequence[str], left_out: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in left_out)


FORMS: Final[Mapping[Kind, TableForm]] = {
    Kind.TRACKS: TableForm(
        columns=_without(
            track_schema(shape=1, expression=1, blendshapes=1, source="", rig="", identity=1).names, _BESIDE
        ),
        optional=("identity", "depth", "normals"),
        read=read_track_table,
    ),
    Kind.SWAPS: TableForm(
        columns=_without(swap_schema(shape=1, expression=1).names, _BESIDE),
        optional=("target_normals", "source_normals"),
        read=read_swap_table,
    ),
}


def choose_columns(kind: Kind, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The columns to read: those asked for, or all that every result has.

    Raises:
        PegasusError: BAD_REFERENCE for a column that no table of the kind has; the message names those that there are.
    """
    form = FORMS[kind]
    if asked is None:
        return _without(form.columns, form.optional)
    names = (asked,) if isinstance(asked, str) else tuple(dict.fromkeys(asked))
    for name in names:
        if name not in form.columns:
            message = f"is no column of {kind}; there are {', '.join(form.columns)}"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=str(name))
    return names


@dataclass(frozen=True, slots=True)
class Source:
    """A result whose rows are to be read."""

    key: str
    files: int  # how many tables it has
    consent: str  # of everybody who can be seen in it


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of one result."""

    source: Source
    number: int  # among the result's files


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Which rows to read. It is small and holds no connection, so that each process gets a copy and opens the library itself."""

    location: str
    kind: Kind
    columns: tuple[str, ...]
    sources: tuple[Source, ...]

    def files(self) -> list[TableFile]:
        """The files in the order of the results."""
        return [TableFile(source, number) for source in self.sources for number in range(source.files)]

    def rows(self, files: Sequence[TableFile], order: Order | None = None) -> Iterator[Row]:
        """The rows of some files, one file in memory at a time.

        Args:
            files: which, in this order.
            order: mixes the rows of each file; by default they come as they were written.

        Raises:
            PegasusError: CORRUPT, naming the file, if a file is not what was written; BAD_REFERENCE for a result that is
                gone, or that has not got a column.
        """
        library = Library(self.location)
        manifest_of = lru_cache(MANIFESTS_KEPT)(lambda source: _manifest_of(library, self.kind, source))
        for place, file in enumerate(files):
            mix = order(place) if order else None
            beside = {"result": file.source.key, "consent": file.source.consent}
            for row in _rows_of_file(library, manifest_of(file.source), file.number, self.columns, mix):
                yield row | beside


def _manifest_of(library: Library, kind: Kind, source: Source) -> Manifest:
    manifest = library.expect(kind, source.key)
    if len(manifest.files) != source.files:
        message = "it has changed since the library was opened; open it again"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=f"{kind}/{source.key}")
    return manifest


def _rows_of_file(
    library: Library, manifest: Manifest, number: int, columns: Sequence[str], mix: np.random.Generator | None
) -> Iterator[Row]:
    """The good rows of one file, in the order in which they were written or mixed."""
    file, form = manifest.files[number], FORMS[manifest.kind]
    subject = f"{manifest.kind}/{manifest.key}/{file.path}"
    table = form.read(read_payload(library, manifest, file.name), subject, {*columns, "status"}).combine_chunks()
    good = np.flatnonzero(pc.equal(table["status"], OK).to_numpy())
    for name in form.optional:
        if name in columns and (name not in table.column_names or table[name].null_count):
            message = f"its frames have no {name}; ask for other columns, or leave this result out"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=subject)
    check_complete(table, subject)
    if mix is not None:
        good = mix.permutation(good)
    for start in range(0, len(good), ROWS_AT_ONCE):
        block = table.take(good[start : start + ROWS_AT_ONCE])
        arrays = _arrays(block, columns, subject)
        for place in range(len(block)):
            yield {name: _at(arrays[name], place) for name in columns}


def _arrays(block: pa.Table, columns: Sequence[str], subject: str) -> Row:
    """Some rows by column. Pictures are decoded together, because they have to be of one size."""
    pictures = {name: _FORMS[name] for name in columns if name in _FORMS}
    arrays: Row = decode_columns(block, pictures, subject) if pictures else {}
    for name in columns:
        kind = block.schema.field(name).type
        if name == "depth":
            arrays[name] = steps_to_depth(arrays[name])
        elif name == "landmarks":
            arrays[name] = list_array(block, name).reshape(len(block), -1, 2)
        elif name in pictures:
            continue
        elif pa.types.is_fixed_size_list(kind):
            arrays[name] = list_array(block, name)
        elif pa.types.is_struct(kind):
            arrays[name] = {
                field.name: np.array(pc.struct_field(block[name], field.name), np.float32) for field in kind
            }
        else:
            arrays[name] = block[name].to_pylist() if pa.types.is_string(kind) else block[name].to_numpy()
    return arrays


def _at(values: Any, place: int) -> Any:
    """One row of a column, or of each column in a group of them."""
    return {name: column[place] for name, column in values.items()} if isinstance(values, dict) else values[place]
