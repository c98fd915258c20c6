"""The headers of a Parquet file's pages, read without unpacking a page.

A page's header says how many bytes the page unpacks to, and Arrow takes that much memory before it unpacks. The file's footer may
say less. So both are compared here before Arrow reads a column.

Source: parquet.thrift of the Parquet format, and the compact protocol of Apache Thrift.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

MAX_DEPTH: Final = 4
"""Structs within each other; a page's header has two, or three where it has statistics."""
MAX_VARINT_BYTES: Final = 10
DATA, DICTIONARY, DATA_2 = 0, 2, 3  # types of pages
HEADS: Final = {DATA: (5, 2), DICTIONARY: (7, 2), DATA_2: (8, 4)}
"""By a page's type: the field of its header that describes it, and in that the field that holds the encoding."""
PLAIN: Final = 0
DICTIONARY_ENCODINGS: Final = (2, 8)
BOOLEANS: Final = (1, 2)  # Thrift's types, which follow
BYTE, INTEGERS, DOUBLE, BINARY, STRUCT = 3, (4, 5, 6), 7, 8, 12


@dataclass(frozen=True, slots=True)
class Page:
    """What a page's header says, and how long the header is."""

    kind: int
    unpacked: int  # bytes
    packed: int  # bytes
    values: int
    encoding: int
    header: int  # bytes


def read_pages(data: bytes, start: int, end: int) -> Iterator[Page]:
    """The headers of the pages between two places of a file.

    Raises:
        ValueError: where they are not those of pages that follow each other up to the end.
    """
    at = start
    if start < 0:
        raise ValueError("a column begins before the file")
    while at < end:
        reader = _Reader(data, at, end)
        fields = reader.struct()
        kind = fields.get(1)
        if kind not in HEADS:
            raise ValueError(f"it has a page of type {kind}")
        place, encoding = HEADS[kind]
        inner = fields.get(place)
        if not isinstance(inner, dict):
            raise ValueError("a page's header is not whole")
        found = (fields.get(2), fields.get(3), inner.get(1), inner.get(encoding))
        numbers = [number for number in found if isinstance(number, int) and number >= 0]
        if len(numbers) < len(found):
            raise ValueError("a page's header is not whole")
        unpacked, packed, values, coding = numbers
        page = Page(kind, unpacked, packed, values, coding, reader.at - at)
        yield page
        at = reader.at + page.packed
    if at != end:
        raise ValueError("its last page ends elsewhere than its column")


class _Reader:
    """Reads structs of Thrift's compact protocol from `at` on, none of whose parts may lie beyond `end`."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, min(end, len(data))

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """A struct's fields by number. Those that a page's header does not need (text, lists) are passed over."""
        if depth > MAX_DEPTH:
            raise ValueError("a page's header is too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._take(1)[0]:
            number = number + (head >> 4) if head >> 4 else self._integer()
            fields[number] = self._value(head & 15, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in BOOLEANS:
            return None
        if kind in INTEGERS:
            return self._integer()
        if kind == STRUCT:
            return self.struct(depth + 1)
        if kind in (BYTE, DOUBLE, BINARY):
            self._take({BYTE: 1, DOUBLE: 8}.get(kind) or self._varint())
            return None
        raise ValueError(f"a page's header has a field of type {kind}")

    def _integer(self) -> int:
        coded = self._varint()
        return (coded >> 1) ^ -(coded & 1)

    def _varint(self) -> int:
        value = 0
        for place in range(MAX_VARINT_BYTES):
            byte = self._take(1)[0]
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value
        raise ValueError("a page's header has a number without end")

    def _take(self, count: int) -> bytes:
        if count > self.end - self.at:
            raise ValueError("a page's header is cut off")
        taken = self.data[self.at : self.at + count]
        self.at += count
        return taken
