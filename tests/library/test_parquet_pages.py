"""Pages add up to what an honest footer says, and no bytes make the reader of their headers fail otherwise than by a sentence."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_ray.library.columns import parquet_bytes
from pegasus_ray.library.parquet_pages import read_pages
from pegasus_ray.library.tracks import _table
from tests.library.test_tracks import make_track


def written(**settings: object) -> bytes:
    table = pa.table({"number": pa.array(range(30_000), pa.int32()), "text": ["some", "words", "and others"] * 10_000})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, data_page_size=4096, **settings)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        parquet_bytes(_table(make_track(), None, slice(0, 5))),
        written(compression="zstd"),
        written(compression="none", data_page_version="2.0", row_group_size=1000),
        written(use_dictionary=False, write_statistics=True, write_page_checksum=True),
    ],
)
def test_pages_add_up_to_what_the_footer_says(data: bytes) -> None:
    footer = pq.read_metadata(pa.BufferReader(data))
    for group in (footer.row_group(number) for number in range(footer.num_row_groups)):
        for column in (group.column(place) for place in range(footer.num_columns)):
            start = column.dictionary_page_offset or column.data_page_offset
            pages = list(read_pages(data, start, start + column.total_compressed_size))
            assert sum(page.unpacked + page.header for page in pages) == column.total_uncompressed_size
            assert sum(page.packed + page.header for page in pages) == column.total_compressed_size
            assert sum(page.values for page in pages if page.kind != 2) == column.num_values


@given(st.binary(max_size=200), st.integers(-5, 20), st.integers(0, 400))
def test_any_bytes_are_pages_or_are_refused_by_a_sentence(data: bytes, start: int, end: int) -> None:
    try:
        pages = list(read_pages(data, start, end))
    except ValueError as error:
        assert str(error)
    else:
        assert end <= start or sum(page.packed + page.header for page in pages) == end - start
