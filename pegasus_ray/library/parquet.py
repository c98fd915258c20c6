"""Reads tables from Parquet files that need not be trusted.

A file of a few kilobytes can unpack to gigabytes: by compression, or by a dictionary with one long value that every row names. So
the footer and the headers of the pages are checked before a column is read, and the rows are read a few at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from pegasus_ray.library.parquet_pages import DICTIONARY, DICTIONARY_ENCODINGS, PLAIN, read_pages
from pegasus_ray.schemas.errors import PegasusError, Reason

MAX_ROWS: Final = 4096
"""Rows of one file; this package writes 256 at most."""
MAX_ROW_GROUPS: Final = 64
MAX_LIST_LENGTH: Final = 4096
"""Numbers of one row of a list column; the longest are an identity's 512 and the landmarks' 956."""
MAX_TEXT_BYTES: Final = 4 << 20
"""Unpacked bytes of a column of text in one row group. Text is the only thing that is stored with a dictionary."""
SPARE_BYTES: Final = 64 << 20
"""Unpacked bytes that a file may have beyond twice its size. Pictures, nearly all of a file, do not shrink; the numbers of
`MAX_ROWS` rows, which may, are less than this."""
ROWS_AT_ONCE: Final = 16
"""Rows that are read before their size is looked at."""
WRITER: Final = "parquet-cpp-arrow"
"""How the name begins of what writes this package's tables."""
WAY_OUT: Final = "remove the result's folder, and run the command again that made it"


def read_table(
    data: bytes,
    *,
    kind: str,
    version: int,
    wanted: Callable[[pa.Schema], pa.Schema],
    subject: str,
    columns: Collection[str] = (),
) -> pa.Table:
    """The table in the bytes of a Parquet file, with its schema's metadata. Columns that are not wanted are not read.

    Args:
        data: the file.
        kind: of table, as the schema's metadata have it: track, swap.
        version: of that table's columns.
        wanted: makes the expected schema from the file's, whose lists may have any lengths.
        subject: for messages.
        columns: to read; all that are wanted by default.

    Raises:
        PegasusError: BAD_LIBRARY for a table of another kind or version; CORRUPT for a file that is broken, has other columns, or
            unpacks to more than a table of this package can be.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow
        _check_schema(schema, kind, version, subject)
        expected = wanted(schema)
        for field in expected:
            if schema.names.count(field.name) != 1 or schema.field(field.name).type != field.type:
                raise ValueError(f"its column {field.name} is missing or of another type")
        most = _check_packing(file, data)
        names = [field.name for field in expected if not columns or field.name in columns]
        batches, size = [], 0
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=names):
            batches.append(batch)
            size += batch.nbytes
            if size > most:
                raise ValueError("its rows take more memory than all that it holds")
        return pa.Table.from_batches(batches, schema=batches[0].schema)
    except (pa.ArrowException, ValueError, OSError, KeyError) as error:
        message = f"this table cannot be read: {' '.join(str(error).split())[:200]}; {WAY_OUT}"
        raise PegasusError(Reason.CORRUPT, message, subject=subject) from None


def join_tables(tables: list[pa.Table], subject: str) -> pa.Table:
    """The rows of all tables. Raises PegasusError CORRUPT where there is none, or their columns differ."""
    if not tables or any(table.schema.types != tables[0].schema.types for table in tables):
        raise PegasusError(Reason.CORRUPT, f"its tables do not belong together; {WAY_OUT}", subject=subject)
    return pa.concat_tables(tables)


def check_complete(table: pa.Table, subject: str, *, optional: Collection[str] = ()) -> None:
    """Refuse a table in which a column has empty places. Raises PegasusError CORRUPT naming it."""
    for name in table.column_names:
        if name not in optional and table[name].null_count:
            raise PegasusError(Reason.CORRUPT, f"its column {name} has empty places; {WAY_OUT}", subject=subject)


def list_length(schema: pa.Schema, column: str) -> int:
    """The length of the lists in a column of fixed length. Raises ValueError where it is no such column, or they are too long."""
    if schema.names.count(column) != 1 or not pa.types.is_fixed_size_list(schema.field(column).type):
        raise ValueError(f"its column {column} is missing or of another type")
    length: int = schema.field(column).type.list_size
    if not 1 <= length <= MAX_LIST_LENGTH:
        raise ValueError(f"its column {column} has lists of {length} numbers, more than {MAX_LIST_LENGTH}")
    return length


def _check_schema(schema: pa.Schema, kind: str, version: int, subject: str) -> None:
    """Refuse a table of another kind or version. Raises PegasusError BAD_LIBRARY, with what to do."""
    facts = schema.metadata or {}
    found = (facts.get(b"schema", b"?").decode(), facts.get(b"schema_version", b"?").decode())
    if found != (kind, str(version)):
        message = f"is a table {found[0]} of version {found[1]}, not {kind} {version}; use the release that wrote it"
        raise PegasusError(Reason.BAD_LIBRARY, message, subject=subject)


def _check_packing(file: pq.ParquetFile, data: bytes) -> int:
    """The bytes that a file may unpack to.

    Raises:
        ValueError: where its footer or its pages say more, or more rows or numbers than it may have, or it is packed by other
            means than this package uses: some make many long values of a few bytes.
    """
    footer = file.metadata
    if not 1 <= footer.num_rows <= MAX_ROWS or footer.num_row_groups > MAX_ROW_GROUPS:
        raise ValueError(f"it has {footer.num_rows} rows in {footer.num_row_groups} groups; {MAX_ROWS} rows may be")
    if not footer.created_by.startswith(WRITER):  # Arrow reads beyond a column's end in files of some other writers
        raise ValueError(f"it was written by {footer.created_by[:64]!r} and not by {WRITER}")
    most, total = SPARE_BYTES + 2 * len(data), 0
    for group in (footer.row_group(number) for number in range(footer.num_row_groups)):
        for column in (group.column(place) for place in range(footer.num_columns)):
            total += column.total_uncompressed_size
            if column.total_uncompressed_size < 0 or total > most:
                raise ValueError(f"it unpacks to {total} bytes, and a file of {len(data)} bytes may unpack to {most}")
            _check_pages(column, group.num_rows * _numbers_per_row(file.schema_arrow, column.path_in_schema), data)
    return most


def _check_pages(column: pq.ColumnChunkMetaData, values: int, data: bytes) -> None:
    """Refuse a column whose pages are others than the footer says. Raises ValueError naming it."""
    name, size = column.path_in_schema, column.total_uncompressed_size
    is_text = column.physical_type == "BYTE_ARRAY" and "." not in name
    if is_text and size > MAX_TEXT_BYTES:
        raise ValueError(f"its column {name} has {size} bytes of text, more than {MAX_TEXT_BYTES}")
    start = column.data_page_offset
    if column.has_dictionary_page and column.dictionary_page_offset > 0:
        start = min(start, column.dictionary_page_offset)
    pages = list(read_pages(data, start, start + column.total_compressed_size))
    for page in pages:
        by_dictionary = page.kind == DICTIONARY or page.encoding in DICTIONARY_ENCODINGS
        if not (is_text if by_dictionary else page.encoding == PLAIN):
            raise ValueError(f"its column {name} is packed as this package packs none")
    if sum(page.unpacked + page.header for page in pages) > size:
        raise ValueError(f"its column {name} unpacks to more than its footer says")
    if sum(page.values for page in pages if page.kind != DICTIONARY) > values:
        raise ValueError(f"its column {name} has more values than rows")


def _numbers_per_row(schema: pa.Schema, path: str) -> int:
    """How many values a row of a leaf column has. Raises ValueError for a column that is not in the schema."""
    name = path.split(".")[0]
    return list_length(schema, name) if pa.types.is_fixed_size_list(schema.field(name).type) else 1
