"""Columns of tables: pictures and lists of fixed length; and tables as the bytes of a Parquet file.

Legend: T rows, S side in pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pegasus_ray.library.images import Picture, encode_all
from pegasus_ray.library.performance import Floats
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.tables import IMAGE


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the bytes of a Parquet file. Pictures, which are PNG already, are not compressed; the rest is, by zstd."""
    plain = {field.name for field in table.schema if field.type == IMAGE}
    buffer = io.BytesIO()
    pq.write_table(
        table,
        buffer,
        compression={path: "none" if path.split(".")[0] in plain else "zstd" for path in _leaf_paths(table.schema)},
        use_dictionary=[field.name for field in table.schema if pa.types.is_string(field.type)],
        write_statistics=False,
    )
    return buffer.getvalue()


def image_column(pictures: Picture) -> pa.Array:
    """T pictures as a column of `struct<bytes, path>`."""
    data = pa.array(encode_all(pictures), pa.binary())
    return pa.StructArray.from_arrays([data, pa.nulls(len(data), pa.string())], fields=list(IMAGE))


def image_bytes(table: pa.Table, column: str) -> list[bytes]:
    """The PNG bytes of a picture column."""
    data: list[bytes] = pc.struct_field(table[column], "bytes").to_pylist()
    return data


def list_column(values: Floats) -> pa.Array:
    """Rows (T, …) as lists of fixed length."""
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), math.prod(values.shape[1:]))


def list_array(table: pa.Table, column: str) -> Floats:
    """A column of lists of fixed length as an array (T, length)."""
    length = table.schema.field(column).type.list_size
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table[column].chunks]
    values: Floats = np.concatenate(chunks).reshape(len(table), length).astype(np.float32)
    return values


def check_schema(table: pa.Table, name: str, version: int, subject: str) -> None:
    """Refuse a table of another kind or version.

    Raises:
        PegasusError: BAD_LIBRARY, with what to do.
    """
    facts = table.schema.metadata or {}
    found = (facts.get(b"schema", b"?").decode(), facts.get(b"schema_version", b"?").decode())
    if found != (name, str(version)):
        message = f"is a table {found[0]} of version {found[1]}, not {name} {version}; use the release that wrote it"
        raise PegasusError(Reason.BAD_LIBRARY, message, subject=subject)


def _leaf_paths(schema: pa.Schema) -> Iterator[str]:
    """The names by which Parquet refers to a schema's leaf columns."""
    for field in schema:
        if pa.types.is_struct(field.type):
            yield from (f"{field.name}.{child.name}" for child in field.type)
        elif pa.types.is_fixed_size_list(field.type):
            yield f"{field.name}.list.element"
        else:
            yield field.name
