"""Where a library's bytes lie: a local folder, or any filesystem that fsspec knows (`s3://`, `gs://`, `memory://`,
`hf://`).

Two promises hold everywhere. A name that can be seen has its whole content: a local write goes to a hidden temporary
name and is then linked or renamed, an object store shows an object only once it is complete. And of several writers
that `create` the same name, one wins: by hard link, which never replaces, or by the store's conditional put.
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

TEMPORARY = ".part-"
"""How the names of unfinished local writes begin."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


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
        """Write a file whole, or not at all; an older one of that name is replaced."""

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless one of that name is there. True if this call made it."""

    def read(self, path: str) -> bytes:
        """A file's content. FileNotFoundError if there is none."""

    def files(self, folder: str) -> list[Entry]:
        """Files that lie directly in a folder, by name; none if it does not exist."""

    def folders(self, folder: str) -> list[str]:
        """Names of the folders in a folder, sorted."""

    def remove(self, path: str) -> None:
        """Remove a file; no harm if it is gone."""

    def remove_tree(self, folder: str) -> None:
        """Remove a folder and all that is in it; no harm if it is gone."""

    def local(self, path: str) -> Path | None:
        """Where the file lies on this machine, if it does."""


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
        with _typed_errors(self.location), self._temporary(path, data) as (temporary, final):
            temporary.replace(final)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`."""
        if (self.root / path).exists():
            return False
        with _typed_errors(self.location), self._temporary(path, data) as (temporary, final):
            try:
                os.link(temporary, final)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if final.exists():  # no hard links here: whole all the same, but of two writers at once the last wins
                    return False
                temporary.replace(final)
        return True

    def read(self, path: str) -> bytes:
        """See `Storage.read`."""
        return (self.root / path).read_bytes()

    def files(self, folder: str) -> list[Entry]:
        """See `Storage.files`. Unfinished writes are listed too: they begin with `TEMPORARY`."""
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
        """See `Storage.remove`. A folder that becomes empty goes too."""
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
        """A complete, flushed file beside its final place, removed at the end if it is still there."""
        final = self.root / path
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
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
    """A bucket, or whatever else fsspec reaches by URL."""

    _memory = threading.Lock()  # memory:// checks and then writes; one process holds it all, so one lock is enough

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        try:
            self.filesystem, self.root = _filesystem(self.location)
        except (ImportError, ValueError) as error:
            way_out = "use a folder, or install what the URL needs (for s3:// `pip install 'pegasus-ray[s3]'`)"
            raise PegasusError(Reason.BAD_LIBRARY, f"{error}; {way_out}", subject=self.location) from error

    def put(self, path: str, data: bytes | Path) -> None:
        """See `Storage.put`."""
        with _typed_errors(self.location):
            self._writable()
            if isinstance(data, Path):
                self.filesystem.put_file(str(data), f"{self.root}/{path}")
            else:
                self.filesystem.pipe_file(f"{self.root}/{path}", data)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`."""
        full = f"{self.root}/{path}"
        with _typed_errors(self.location), self._memory:
            self._writable()
            if self.filesystem.exists(full):
                return False
            try:
                self.filesystem.pipe_file(full, data, mode="create")
            except OSError:
                # A lost race comes as FileExistsError or as the store's own "precondition failed".
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
            Entry(name=_last(item["name"]), size=int(item["size"] or 0), age=_age(item))
            for item in self._list(folder)
            if item["type"] == "file"
        ]

    def folders(self, folder: str) -> list[str]:
        """See `Storage.folders`."""
        return [_last(item["name"]) for item in self._list(folder) if item["type"] == "directory"]

    def remove(self, path: str) -> None:
        """See `Storage.remove`."""
        with suppress(FileNotFoundError):
            self.filesystem.rm_file(f"{self.root}/{path}")
            self.filesystem.invalidate_cache()

    def remove_tree(self, folder: str) -> None:
        """See `Storage.remove_tree`."""
        with suppress(FileNotFoundError):
            for path in self.filesystem.find(
                f"{self.root}/{folder}"
            ):  # `rm` would take brackets in a name for a pattern
                self.filesystem.rm_file(path)
            self.filesystem.invalidate_cache()

    def local(self, path: str) -> Path | None:
        """See `Storage.local`: never."""
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
            message = "a hub repository is read-only as a library; use a folder or a bucket, and `pegasus publish`"
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
def _typed_errors(location: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise PegasusError(Reason.BAD_LIBRARY, "cannot be written; check its rights", subject=location) from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        message = "the disk is full; make room (`pegasus gc` sweeps leftovers) and run the same command again"
        raise PegasusError(Reason.DISK_FULL, message, subject=location) from error


def _last(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def _age(item: dict[str, Any]) -> float:
    """Seconds since a remote file was written, by whatever name its store keeps the time; 0 where it keeps none."""
    for name in ("LastModified", "mtime", "updated", "created", "last_modified"):
        moment = item.get(name)
        if isinstance(moment, int | float):
            return time.time() - moment
        stamp: Callable[[], float] | None = getattr(moment, "timestamp", None)
        if stamp is not None:
            return time.time() - stamp()
    return 0.0
