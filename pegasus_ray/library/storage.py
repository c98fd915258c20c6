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
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from pegasus_ray.schemas.errors import PegasusError, Reason

TEMPORARY_PREFIX = ".part-"
"""The names of unfinished local writes begin with it."""

FOLDER_TRIES = 20
"""How often a folder is made again that others keep removing."""

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

    def put(self, path: str, data: bytes | Path, *, durable: bool = True) -> None:
        """Write a file completely or not at all; an older file of that name is replaced.

        What is not `durable` may be lost if the machine loses its power now, and is written faster.
        """

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless one of that name exists. True if this call made it."""

    def read(self, path: str, *, most: int | None = None) -> bytes:
        """A file's content, at most so many bytes of it.

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

    def move(self, path: str, to: str) -> None:
        """Give a file, or a folder with all that is in it, another path under the same root, if it exists."""

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
    from pegasus_ray.library.remote import RemoteStorage  # here, because it builds on this module

    return RemoteStorage(text)


class LocalStorage:
    """A folder of this machine, or of a network file system that all workers mount at the same place.

    Symbolic links below the root are never followed: a library that came from somebody else could point anywhere with them.
    Listings leave them out, and a path that leads through one is refused.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.location = str(self.root)
        if self.root.exists() and not self.root.is_dir():
            raise PegasusError(Reason.BAD_LIBRARY, "is a file; a library is a folder", subject=self.location)

    def put(self, path: str, data: bytes | Path, *, durable: bool = True) -> None:
        """See `Storage.put`."""
        with _errors_as_pegasus_errors(self.location), self._temporary(path, data, durable) as (temporary, final):
            temporary.replace(final)  # replaces a symbolic link too, and not what it points at

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`."""
        if self._below(path).exists():
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

    def read(self, path: str, *, most: int | None = None) -> bytes:
        """See `Storage.read`."""
        target = self._below(path)
        if target.is_symlink():
            raise FileNotFoundError(target)
        with target.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # what is given to `read` is set aside at once
            return file.read(-1 if most is None else min(most, size))

    def files(self, folder: str) -> list[Entry]:
        """See `Storage.files`. Unfinished writes are listed too; their names begin with `TEMPORARY_PREFIX`."""
        now = time.time()
        entries = []
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._below(folder, itself=True)) as items:
            for item in items:
                with suppress(FileNotFoundError):
                    if item.is_file(follow_symlinks=False):
                        facts = item.stat(follow_symlinks=False)
                        entries.append(Entry(name=item.name, size=facts.st_size, age=now - facts.st_mtime))
        return sorted(entries, key=lambda entry: entry.name)

    def folders(self, folder: str) -> list[str]:
        """See `Storage.folders`."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self._below(folder, itself=True)) as items:
            return sorted(item.name for item in items if item.is_dir(follow_symlinks=False))
        return []

    def remove(self, path: str) -> None:
        """See `Storage.remove`. A folder that becomes empty is removed too."""
        target = self._below(path)
        with suppress(FileNotFoundError):
            target.unlink()
        self._remove_if_empty(target.parent)

    def remove_tree(self, folder: str) -> None:
        """See `Storage.remove_tree`."""
        shutil.rmtree(self._below(folder), ignore_errors=True)  # which does not follow links either

    def move(self, path: str, to: str) -> None:
        """See `Storage.move`. A folder that becomes empty is removed."""
        source, target = self._below(path), self._below(to)
        with _errors_as_pegasus_errors(self.location):
            target.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                source.rename(target)
        self._remove_if_empty(source.parent)

    def local(self, path: str) -> Path | None:
        """See `Storage.local`."""
        return self.root / path

    def _below(self, path: str, *, itself: bool = False) -> Path:
        """The path under the root.

        Args:
            path: relative to the root.
            itself: refuse also a path that is itself a symbolic link, and not only one that leads through one.

        Raises:
            PegasusError: BAD_LIBRARY for a symbolic link.
        """
        place, parts = self.root, Path(path).parts
        for number, part in enumerate(parts):
            place = place / part
            if (itself or number < len(parts) - 1) and place.is_symlink():
                message = "is a symbolic link, which a library does not follow; move the library as a whole, or remove the link"
                raise PegasusError(Reason.BAD_LIBRARY, message, subject=str(place))
        return place

    def _remove_if_empty(self, folder: Path) -> None:
        if folder != self.root:
            with suppress(OSError):
                folder.rmdir()

    @contextmanager
    def _temporary(self, path: str, data: bytes | Path, durable: bool = True) -> Iterator[tuple[Path, Path]]:
        """A temporary file with the content, on disk if it is to be durable, and the final path. It is removed at the end."""
        final = self._below(path)
        temporary = final.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        try:
            with _open_new(temporary) as file:
                for block in _blocks(data):
                    file.write(block)
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            yield temporary, final
        finally:
            temporary.unlink(missing_ok=True)


def _open_new(path: Path) -> BinaryIO:
    """A new file, open for writing, in a folder that is made.

    Another process may remove the folder between the two steps, because it has just become empty: then both are done again.
    """
    for _ in range(FOLDER_TRIES):
        with suppress(
            FileNotFoundError, FileExistsError
        ):  # the second by `mkdir`, where the folder goes while it looks
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb")
    return path.open("xb")


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
        if error.errno == errno.EROFS:
            message = "lies on a disk that can only be read; give another place, or mount it so that it can be written"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=location) from error
        if error.errno not in _DISK_FULL:
            raise
        message = "the disk is full; make room (`pegasus gc --empty` removes leftovers) and run the same command again"
        raise PegasusError(Reason.DISK_FULL, message, subject=location) from error
