"""Columns of tables: pictures and lists of fixed length; and tables as the bytes of a Parquet file.

Legend: T rows, S side in pixels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pegasus_ray.library.images import Picture, PixelForm, decode_all, encode_all, read_png_header
from pegasus_ray.library.parquet import WAY_OUT
from pegasus_ray.library.performance import Floats
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.tables import IMAGE

MAX_DECODED_BYTES: Final = 16 << 30
"""Memory that the decoded pictures of a result may take: 5,400 frames of 768², or 760 of 2048², with matte and parts."""


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


def decode_columns(table: pa.Table, forms: Mapping[str, PixelForm], subject: str) -> dict[str, Any]:
    """Picture columns decoded: (T, S, S) or (T, S, S, 3) each.

    Args:
        table: T rows.
        forms: channels and bits of the pictures in each column.
        subject: for messages.

    Raises:
        PegasusError: CORRUPT unless all pictures are squares of one size and of their column's form, and not more than
            `MAX_DECODED_BYTES` together. Their headers are looked at before the first is decoded.
    """
    data = {name: image_bytes(table, name) for name in forms}
    headers = {name: [read_png_header(png, subject) for png in column] for name, column in data.items()}
    side = next(iter(headers.values()))[0].width
    for name, column in headers.items():
        for header in column:
            if (header.width, header.height, header.form) != (side, side, forms[name]):
                message = (
                    f"a picture of its column {name} is {header}, and not a square of {side} pixels and {forms[name]}"
                )
                raise PegasusError(Reason.CORRUPT, f"{message}; {WAY_OUT}", subject=subject)
    size = sum(header.size for column in headers.values() for header in column)
    if size > MAX_DECODED_BYTES:
        message = f"its pictures take {size} bytes of memory, more than {MAX_DECODED_BYTES}; {WAY_OUT}"
        raise PegasusError(Reason.CORRUPT, message, subject=subject)
    return {name: decode_all(column, subject) for name, column in data.items()}


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


def _leaf_paths(schema: pa.Schema) -> Iterator[str]:
    """The names by which Parquet refers to a schema's leaf columns."""
    for field in schema:
        if pa.types.is_struct(field.type):
            yield from (f"{field.name}.{child.name}" for child in field.type)
        elif pa.types.is_fixed_size_list(field.type):
            yield f"{field.name}.list.element"
        else:
            yield field.name
