"""Many small records in few files: each writer adds segments, which are files of many records, and nobody changes another's.

In an object store a file cannot be added to, and each file costs a request to read. So a record is not a file of its own: a
writer collects records and writes them together. When there are many segments, any process may put them together into one and
remove them. Two that do so at once leave some records twice, which does no harm: readers keep records by what they are about.
"""

from __future__ import annotations

import gc
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Annotated, Any, Final, Generic, TypeVar

from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError

from pegasus_ray.library.library import Library
from pegasus_ray.library.storage import Entry
from pegasus_ray.schemas.errors import PegasusError

SUFFIX: Final = ".json"
MAX_SEGMENT_BYTES: Final = 256 << 20
"""A larger file is none of ours and is not read."""
MANY: Final = 12
"""With more segments than this, a folder is worth putting together."""
READERS: Final = 16
"""Requests to remote storage that are under way at the same time."""

Record = TypeVar("Record", bound=BaseModel)
Item = TypeVar("Item")
Answer = TypeVar("Answer")


def side_by_side(library: Library, read: Callable[[Item], Answer], items: Sequence[Item]) -> list[Answer]:
    """Answers for some items, each of which takes requests: for remote storage many at the same time, else one after another."""
    if library.storage.local("") is not None:
        return [read(item) for item in items]
    with ThreadPoolExecutor(READERS) as readers:
        return list(readers.map(read, items))


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep Python's collector of garbage from looking again and again through tens of thousands of records that all stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Segments(Generic[Record]):
    """The segments in one folder of a library: each a JSON array of records of one type."""

    def __init__(self, library: Library, folder: str, record: type[Record], *, durable: bool = True) -> None:
        self._library = library
        # A wrong file is given up at its first wrong record: an error for each would take much more memory than the file.
        form: Any = Annotated[list[record], FailFast()]  # type: ignore[valid-type]
        self._records: TypeAdapter[list[Record]] = TypeAdapter(form)
        self._durable = durable
        self.folder = folder

    def there(self) -> Sequence[Entry]:
        """The segments that there are, oldest first: their names begin with the time."""
        return [entry for entry in self._library.storage.files(self.folder) if entry.name.endswith(SUFFIX)]

    def write(self, records: Iterable[Record], name: str = "") -> str:
        """Write a segment, a new one unless a name is given; returns its name. Errors as `Library.put`."""
        name = name or f"{int(time.time() * 1000):013d}-{secrets.token_hex(4)}{SUFFIX}"
        data = self._records.dump_json(list(records), exclude_defaults=True)
        self._library.put(f"{self.folder}/{name}", data, durable=self._durable)
        return name

    def read(self, segments: Sequence[Entry] | None = None) -> Sequence[tuple[Entry, Sequence[Record]]]:
        """Segments and their records, oldest first. One that is not valid is left out, as is one that has just been put away."""
        if segments is not None:
            return self._read(segments)[0]
        found, all_there = self._read(self.there())
        return found if all_there else self._read(self.there())[0]  # some were put together since the listing

    def unchanged(self, segments: Sequence[Entry]) -> Sequence[Entry]:
        """Those of some segments that nobody has written since they were listed."""
        now = {entry.name: entry for entry in self.there()}
        return [old for old in segments if (new := now.get(old.name)) and new.size == old.size and new.age >= old.age]

    def put_together(self, records: Iterable[Record], segments: Collection[str]) -> str:
        """Write one segment of the given records, and remove the segments that they come from; returns the new one's name."""
        name = self.write(records)
        for old in segments:
            with suppress(PegasusError, OSError):  # another process may do the same; the rest stays for the next time
                self._library.storage.remove(f"{self.folder}/{old}")
        return name

    def _read(self, segments: Sequence[Entry]) -> tuple[list[tuple[Entry, Sequence[Record]]], bool]:
        """Segments that have records, with these, and whether all of the files were there."""
        with _no_collection():
            contents = side_by_side(self._library, self._records_of, segments)
        found = [(entry, records) for entry, records in zip(segments, contents, strict=True) if records]
        return found, None not in contents

    def _records_of(self, entry: Entry) -> Sequence[Record] | None:
        """The records of a segment, none if it is not valid; None if the file is gone."""
        if entry.size > MAX_SEGMENT_BYTES:
            return []
        try:
            data = self._library.storage.read(f"{self.folder}/{entry.name}", most=MAX_SEGMENT_BYTES)
        except FileNotFoundError:
            return None
        try:
            found: Sequence[Record] = self._records.validate_json(data)
        except ValidationError:
            return []
        return found
