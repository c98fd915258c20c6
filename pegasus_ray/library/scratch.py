"""A folder for a stage's own checkpoints, which outlives a killed run.

In a local library it lies in the library. For a remote one it is a temporary folder, filled from the library at the
start and copied there now and then, so that another machine can go on.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from pegasus_ray.library.library import CHECKPOINTS, Library
from pegasus_ray.schemas.manifests import Stage

COPY_EVERY = 60.0
"""Seconds between copies to a remote library."""


class Scratch(Protocol):
    """A folder of this machine for checkpoints."""

    @property
    def folder(self) -> Path:
        """Where a stage writes them."""

    def keep(self) -> None:
        """See that what is in it outlives this machine. Cheap: called at each report of progress."""


class LibraryScratch:
    """A folder whose copy is in the library, if it is not there itself."""

    def __init__(self, folder: Path, library: Library, remote: str | None) -> None:
        self.folder = folder
        self._library = library
        self._remote = remote
        self._copied = time.monotonic()
        self._seen: dict[str, int] = {}

    def keep(self, *, now: bool = False) -> None:
        """Copy what changed to a remote library, at most once in `COPY_EVERY` seconds. Cheap otherwise."""
        if self._remote is None or (not now and time.monotonic() - self._copied < COPY_EVERY):
            return
        for path in sorted(self.folder.iterdir()):
            stamp = path.stat().st_mtime_ns
            if path.is_file() and not path.name.startswith(".") and self._seen.get(path.name) != stamp:
                self._library.storage.put(f"{self._remote}/{path.name}", path)
                self._seen[path.name] = stamp
        self._copied = time.monotonic()


@contextmanager
def open_scratch(library: Library, stage: Stage, key: str) -> Iterator[LibraryScratch]:
    """The checkpoint folder of a piece of work: kept if the body raises, removed if it ends well."""
    place = f"{CHECKPOINTS}/{stage}-{key}"
    local = library.storage.local(place)
    if local is not None:
        local.mkdir(parents=True, exist_ok=True)
        try:
            yield LibraryScratch(local, library, None)
        except BaseException:
            with suppress(OSError):  # what is in it stays, an empty one is of no use
                local.rmdir()
            raise
    else:
        with tempfile.TemporaryDirectory(prefix="pegasus-") as temporary:
            folder = Path(temporary)
            for entry in library.storage.files(place):
                (folder / entry.name).write_bytes(library.storage.read(f"{place}/{entry.name}"))
            scratch = LibraryScratch(folder, library, place)
            try:
                yield scratch
            except BaseException:
                scratch.keep(now=True)
                raise
    library.storage.remove_tree(place)
