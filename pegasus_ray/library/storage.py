"""Where a library's bytes are stored: a local folder, or any filesystem that fsspec knows (`s3://`, `gs://`, `hf://`, …).

Two guarantees hold everywhere. First, a file that is visible is complete: a local write goes to a hidden temporary name and
is then linked or renamed, and an object store shows an object only once it is complete. Second, of several writers that
`create` the same name exactly one succeeds, by a hard link, which never replaces a file, or by the store's conditional put.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import fsspec

from pegasus_ray.schemas.errors import PegasusError, Reason

TEMPORARY_PREFIX = ".part-"
"""The names of unfinished local writes begin with it."""

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_HARD_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
"""Errors that file systems without hard links raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A file that lies in a folder."""

    name: str  # within the folder listed
    size: int  # bytes
    age: float  # seconds since it was written


class Storage(Protocol):
    """Files under one root. Paths are relative to it, with `/`."""

    location: str

    def put(self, path: str, data: bytes | Path) -> None:
        """Write a file completely or not at all; an older file of that name is replaced."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless one of that name exists. True if this call made it."""

    def read(self, path: str) -> bytes:
        """A file's content.

        Raises:
            FileNotFoundError: if there is no such file.
        """

    def files(self, folder: str) -> list[Entry]:
        """The files directly in a folder, sorted by name; none if it does not exist."""

    def folders(self, folder: str) -> list[str]:
        """The names of the folders in a folder, sorted."""

    def remove(self, path: str) -> None:
        """Remove a file, if it exists."""

    def remove_tree(self, folder: str) -> None:
        """Remove a folder and all that is in it, if it exists."""

    def local(self, path: str) -> Path | None:
        """The file's path on this machine; None for remote storage."""


def open_storage(location: str | Path) -> Storage:
    """The storage at a folder or a URL.

    Raises:
        PegasusError: BAD_LIBRARY if no filesystem is known for the URL.
    """
    text = str(location)
    if text.startswith("file://"):
        return LocalStorage(Path(text.removeprefix("file://")))
    if "://" not in text:
        return LocalStorage(Path(text))
    return RemoteStorage(text)


class LocalStorage:
    """A folder of this machine, or of a network file system that all workers mount at the same place."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.location = str(self.root)
        if self.root.exists() and not self.root.is_dir():
            raise PegasusError(Reason.BAD_LIBRARY, "is a file; a library is a folder", subject=self.location)

    def put(self, path: str, data: bytes | Path) -> None:
        """See `Storage.put`."""
        with _errors_as_pegasus_errors(self.location), self._temporary(path, data) as (temporary, final):
            temporary.replace(final)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`."""
        if (self.root / path).exists():
            return False
        with _errors_as_pegasus_errors(self.location), self._temporary(path, data) as (temporary, final):
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_HARD_LINKS:
                    raise
                # Without hard links the file is complete all the same, but of two writers at once the last one wins.
                if final.exists():
                    return False
                temporary.replace(final)
        return True

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        return (self.root / path).read_bytes()

    def files(self, folder: str) -> list[Entry]:
        """See `Storage.files`. Unfinished writes are listed too; their names begin with `TEMPORARY_PREFIX`."""
        now = time.time()
        entries = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.root / folder) as items:
            for item in items:
                with suppress(FileNotFoundError):
                    if item.is_file():
                        facts = item.stat()
                        entries.append(Entry(name=item.name, size=facts.st_size, age=now - facts.st_mtime))
        return sorted(entries, key=lambda entry: entry.name)

    def folders(self, folder: str) -> list[str]:
        """See `Storage.folders`."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.root / folder) as items:
            return sorted(item.name for item in items if item.is_dir())
        return []

    def remove(self, path: str) -> None:
        """See `Storage.remove`. A folder that becomes empty is removed too."""
        target = self.root / path
        with suppress(FileNotFoundError):
            target.unlink()
        with suppress(OSError):
            target.parent.rmdir()

    def remove_tree(self, folder: str) -> None:
        """See `Storage.remove_tree`."""
        shutil.rmtree(self.root / folder, ignore_errors=True)

    def local(self, path: str) -> Path | None:
        """See `Storage.local`."""
        return self.root / path

    @contextmanager
    def _temporary(self, path: str, data: bytes | Path) -> Iterator[tuple[Path, Path]]:
        """A temporary file with the content, flushed to disk, and the final path. The temporary file is removed at the end."""
        final = self.root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                for block in _blocks(data):
                    file.write(block)
                file.flush()
                os.fsync(file.fileno())
            yield temporary, final
        finally:
            temporary.unlink(missing_ok=True)


class RemoteStorage:
    """A bucket, or anything else that fsspec reaches by a URL."""

    _create_lock = threading.Lock()  # memory:// has no conditional put, but is in one process, where a lock replaces it

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        try:
            self.filesystem, self.root = _filesystem(self.location)
        except (ImportError, ValueError) as error:
            way_out = "use a folder, or install what the URL needs (for s3:// `pip install 'pegasus-ray[s3]'`)"
            raise PegasusError(Reason.BAD_LIBRARY, f"{error}; {way_out}", subject=self.location) from error

    def put(self, path: str, data: bytes | Path) -> None:
        """See `Storage.put`."""
        with _errors_as_pegasus_errors(self.location):
            self._writable()
            if isinstance(data, Path):
                self.filesystem.put_file(str(data), f"{self.root}/{path}")
            else:
                self.filesystem.pipe_file(f"{self.root}/{path}", data)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`."""
        full = f"{self.root}/{path}"
        with _errors_as_pegasus_errors(self.location), self._create_lock:
            self._writable()
            if self.filesystem.exists(full):
                return False
            try:
                self.filesystem.pipe_file(full, data, mode="create")
            except OSError:
                # Another writer was first: fsspec raises FileExistsError or the store's own "precondition failed".
                self.filesystem.invalidate_cache()
                if not self.filesystem.exists(full):
                    raise
                return False
        return True

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        data: bytes = self.filesystem.cat_file(f"{self.root}/{path}")
        return data

    def files(self, folder: str) -> list[Entry]:
        """See `Storage.files`."""
        return [
            Entry(name=_base_name(item["name"]), size=int(item["size"] or 0), age=_age_seconds(item))
            for item in self._list(folder)
            if item["type"] == "file"
        ]

    def folders(self, folder: str) -> list[str]:
        """See `Storage.folders`."""
        return [_base_name(item["name"]) for item in self._list(folder) if item["type"] == "directory"]

    def remove(self, path: str) -> None:
        """See `Storage.remove`."""
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(f"{self.root}/{path}")
            self.filesystem.invalidate_cache()

    def remove_tree(self, folder: str) -> None:
        """See `Storage.remove_tree`."""
        with suppress(FileNotFoundError):
            # One by one, since `rm` takes brackets in a name for a pattern.
            for path in self.filesystem.find(f"{self.root}/{folder}"):
                self.filesystem.rm_file(path)
            self.filesystem.invalidate_cache()

    def local(self, path: str) -> Path | None:
        """See `Storage.local`: always None."""
        return None

    def _list(self, folder: str) -> list[dict[str, Any]]:
        self.filesystem.invalidate_cache()  # other machines write here too
        try:
            items = self.filesystem.ls(f"{self.root}/{folder}".rstrip("/"), detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(items, key=lambda item: str(item["name"]))

    def _writable(self) -> None:
        if self.location.startswith("hf://"):
            message = "a hub repository can be read as a library but not written; use a folder or a bucket"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=self.location)


def _filesystem(location: str) -> tuple[Any, str]:
    filesystem, root = fsspec.core.url_to_fs(location)
    return filesystem, str(root).rstrip("/")


def _blocks(data: bytes | Path, size: int = 1 << 20) -> Iterator[bytes]:
    if isinstance(data, bytes):
        yield data
        return
    with data.open("rb") as file:
        while block := file.read(size):
            yield block


@contextmanager
def _errors_as_pegasus_errors(location: str) -> Iterator[None]:
    """Turn missing rights and a full disk into a PegasusError that says what to do."""
    try:
        yield
    except PermissionError as error:
        raise PegasusError(Reason.BAD_LIBRARY, "cannot be written; check its rights", subject=location) from error
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        message = "the disk is full; make room (`pegasus gc` sweeps leftovers) and run the same command again"
        raise PegasusError(Reason.DISK_FULL, message, subject=location) from error


def _base_name(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _age_seconds(item: dict[str, Any]) -> float:
    """Seconds since a remote file was written. Stores name the time differently; it is 0 where a store has none."""
    for name in ("LastModified", "mtime", "updated", "created", "last_modified"):
        moment = item.get(name)
        if isinstance(moment, int | float):
            return time.time() - moment
        stamp: Callable[[], float] | None = getattr(moment, "timestamp", None)
        if stamp is not None:
            return time.time() - stamp()
    return 0.0
