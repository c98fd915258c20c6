"""What other processes do to a library on S3 in `test_s3`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING

from s3fs import S3FileSystem

from pegasus_ray.library.library import Library
from pegasus_ray.library.storage import open_storage
from pegasus_ray.schemas.manifests import Kind, Provenance

if TYPE_CHECKING:
    from tests.engine.fakes import FakeJob

PART_BYTES = 5 << 20  # the least that S3 takes
_start: Barrier | None = None


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


def drive(location: str, jobs: Sequence[FakeJob]) -> dict[str, str]:
    """Run jobs beside another driver; the outcome of each, and why it failed if it did."""
    from pegasus_ray.engine.inline import InlineExecutor

    _start.wait(60)
    outcomes = InlineExecutor(Library(location)).run(jobs, lambda event: None)
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
