"""A folder for a stage's checkpoints, which are kept if the run is killed.

In a local library the folder is part of the library. For a remote library it is a temporary folder, filled from the library
at the start and copied to it now and then, so that another machine can continue.
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

COPY_EVERY_SECONDS = 60.0
"""Least time between copies to a remote library."""


class Scratch(Protocol):
    """A folder of this machine for checkpoints."""

    @property
    def folder(self) -> Path:
        """The folder that a stage writes to."""

    def keep(self) -> None:
        """Copy the files to where they outlive this machine. Called at each report of progress, so most calls do nothing."""


class LibraryScratch:
    """A folder in the library, or one of this machine that has a copy in a remote library."""

    def __init__(self, folder: Path, library: Library, remote: str | None) -> None:
        self.folder = folder
        self._library = library
        self._remote = remote
        self._copied = time.monotonic()
        self._seen: dict[str, int] = {}

    def keep(self, *, now: bool = False) -> None:
        """Copy what has changed to a remote library, at most once in `COPY_EVERY_SECONDS` unless `now` is set."""
        if self._remote is None or (not now and time.monotonic() - self._copied < COPY_EVERY_SECONDS):
            return
        for path in sorted(self.folder.iterdir()):
            stamp = path.stat().st_mtime_ns
            if path.is_file() and not path.name.startswith(".") and self._seen.get(path.name) != stamp:
                self._library.put(f"{self._remote}/{path.name}", path)
                self._seen[path.name] = stamp
        self._copied = time.monotonic()


@contextmanager
def open_scratch(library: Library, stage: Stage, key: str) -> Iterator[LibraryScratch]:
    """The checkpoint folder of an item: kept if the body raises, removed if it ends well."""
    library.claim()
    place = f"{CHECKPOINTS}/{stage}-{key}"
    local = library.storage.local(place)
    if local is not None:
        local.mkdir(parents=True, exist_ok=True)
        try:
            yield LibraryScratch(local, library, None)
        except BaseException:
            with suppress(OSError):  # fails, as it should, unless the folder is empty
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
