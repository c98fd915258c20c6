"""What several writers, in other processes too, do to a library on S3 in `test_s3`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Barrier

from s3fs import S3FileSystem

from pegasus_ray.engine.inline import InlineExecutor
from pegasus_ray.library.keys import digest
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.storage import open_storage
from pegasus_ray.schemas.manifests import FileEntry, Kind, Manifest, Provenance, Stage
from pegasus_ray.schemas.progress import Progress

PART_BYTES = 5 << 20  # the least that S3 takes
_start: Barrier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallJob:
    """Makes a result of a file that each driver writes otherwise; a swap in parts, of which the first that is written stays."""

    key: str
    stage: Stage
    needs: tuple[str, ...] = ()
    threads: int = 0
    instead_of: str = ""
    room: int = 0
    short_of: int = 0

    @property
    def subject(self) -> str:
        return self.key

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        progress(0.5, "half way")
        assert all(library.exists(Kind.TRACKS, need) for need in self.needs)
        mine = b"%d" % os.getpid()
        if self.stage is not Stage.SWAP:
            return library.commit(self.stage.kind, self.key, {"x": mine, "y": b"the same"}, Provenance())
        entries = []
        for name in ("part-0", "part-1"):
            path = f"{Kind.SWAPS}/{self.key}/{name}"
            library.create(path, mine)
            data = library.storage.read(path)
            entries.append(FileEntry(name=name, path=name, size=len(data), sha256=digest(data)))
        return library.seal(Kind.SWAPS, self.key, entries, Provenance())

    def smaller(self) -> None:
        """There is no smaller one."""


def wait_here(start: Barrier) -> None:
    """Give a worker the barrier at which it waits for the others."""
    global _start
    _start = start


def create_all(location: str, names: Sequence[str], number: int) -> list[bool]:
    """Create files at the same moments as another process; whether each was this one's."""
    storage = open_storage(location)
    made = []
    for name in names:
        _start.wait(60)
        made.append(storage.create(name, b"%d" % number))
    return made


def drive(location: str, jobs: Sequence[SmallJob]) -> dict[str, str]:
    """Run jobs beside another driver; the outcome of each, and why it failed if it did."""
    _start.wait(60)
    outcomes = InlineExecutor(Catalogue(Library(location))).run(jobs, lambda event: None)
    return {outcome.key: f"{outcome.status} {outcome.message}".strip() for outcome in outcomes}


def commit_all(location: str, keys: Sequence[str]) -> None:
    """Commit small results one after another."""
    library = Library(location)
    for key in keys:
        library.commit(Kind.AVATARS, key, {"a.bin": key.encode(), "b.json": b"{}"}, Provenance())


def create_in_parts(location: str, name: str, data: bytes) -> bool:
    """Create a file in parts of 5 MB; s3fs by itself does so from 100 MB on."""
    storage = open_storage(location)
    storage.filesystem = S3FileSystem(skip_instance_cache=True)  # not the one that all others share
    storage.filesystem.pipe_file = partial(storage.filesystem.pipe_file, chunksize=PART_BYTES)
    return storage.create(name, data)
