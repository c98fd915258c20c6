"""Remote storage: a bucket, a hub repository (`hf://`, read-only), or anything else that fsspec reaches by a URL.

Of several writers that `create` the same name exactly one succeeds, by the store's conditional put. Listings are not cached:
other machines write to the same place, and a listing of a moment ago would hide what they have written since.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import fsspec

from pegasus_ray.library.storage import Entry
from pegasus_ray.schemas.errors import PegasusError, Reason

CONDITIONAL_PUT = frozenset({"s3", "s3a", "gs", "gcs", "memory"})
"""Protocols whose `pipe_file(mode="create")` writes only if there is no such file, in one step.

With others we look first, and of two writers at the same moment both may succeed.
"""

CONFLICT_WAITS = (0.1, 0.2, 0.4, 0.8)  # seconds
"""Waits before a conditional put is sent again, if the store refused it because another write of that file was under way."""

EMPTY_FILE = "InvalidRange"
"""S3's answer to who asks for the first bytes of a file that has none."""

_CONFLICTS = frozenset({"ConditionalRequestConflict", "409"})  # error codes of S3


class RemoteStorage:
    """See `Storage`. The filesystem is fsspec's, whose methods raise errors of their own kinds; here they become a few."""

    _memory_lock = threading.Lock()  # memory:// has no conditional put, but is in one process, where a lock replaces it

    def __init__(self, location: str) -> None:
        self.location = location.rstrip("/")
        try:
            self.filesystem, root = fsspec.core.url_to_fs(self.location, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            way_out = "use a folder, or install what the URL needs (for s3:// `pip install 'pegasus-ray[s3]'`)"
            raise PegasusError(Reason.BAD_LIBRARY, f"{error}; {way_out}", subject=self.location) from error
        self.root = str(root).rstrip("/")
        self._protocol = self.location.partition("://")[0]
        self._is_s3 = self._protocol in ("s3", "s3a")

    def put(self, path: str, data: bytes | Path, *, durable: bool = True) -> None:
        """See `Storage.put`. Stores keep all that they have taken."""
        with self._errors():
            self._writable()
            if isinstance(data, Path):
                self.filesystem.put_file(str(data), f"{self.root}/{path}")
            else:
                self.filesystem.pipe_file(f"{self.root}/{path}", data)

    def create(self, path: str, data: bytes) -> bool:
        """See `Storage.create`. False also if the store took the file, its answer was lost, and the file was sent again."""
        full = f"{self.root}/{path}"
        with self._errors(), self._one_at_a_time_in_memory():
            self._writable()
            if self._protocol not in CONDITIONAL_PUT and self.filesystem.exists(full):
                return False
            for wait in (*CONFLICT_WAITS, None):
                try:
                    self.filesystem.pipe_file(full, data, mode="create")
                except FileExistsError:
                    return False
                except (FileNotFoundError, PermissionError):
                    raise
                except OSError as error:
                    if self.filesystem.exists(full):  # some stores say in other words that another writer was first
                        return False
                    if wait is None or error_code(error) not in _CONFLICTS:
                        raise
                    time.sleep(wait)
                else:
                    return True
        raise AssertionError("unreachable")

    def read(self, path: str, *, most: int | None = None) -> bytes:
        """See `Storage.read`."""
        # s3fs asks for the size first, to fetch files above 50 MB in parts side by side. JSON files are small: one request.
        options: dict[str, Any] = {"max_concurrency": 1} if self._is_s3 and path.endswith(".json") else {}
        if most is not None:
            options |= {"start": 0, "end": most}
        with self._errors():
            try:
                data: bytes = self.filesystem.cat_file(f"{self.root}/{path}", **options)
            except OSError as error:
                if error_code(error) != EMPTY_FILE:
                    raise
                return b""
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
        with suppress(FileNotFoundError), self._errors():
            self._writable()
            self.filesystem.rm_file(f"{self.root}/{path}")

    def remove_tree(self, folder: str) -> None:
        """See `Storage.remove_tree`."""
        with suppress(FileNotFoundError), self._errors():
            self._writable()
            for full in self._find(folder):  # one by one, since `rm` takes brackets in a name for a pattern
                self.filesystem.rm_file(full)

    def move(self, path: str, to: str) -> None:
        """See `Storage.move`. Stores have no rename: the files are copied one by one, and then removed."""
        source = f"{self.root}/{path}"
        with self._errors():
            self._writable()
            for full in self._find(path) or [source]:
                with suppress(FileNotFoundError):
                    if not full.endswith("/"):
                        self.filesystem.cp_file(full, f"{self.root}/{to}{full.removeprefix(source)}")
                    self.filesystem.rm_file(full)

    def local(self, path: str) -> Path | None:
        """See `Storage.local`: always None."""
        return None

    def _list(self, folder: str) -> list[dict[str, Any]]:
        """What lies directly in a folder, sorted by name, without the objects described in `_find`."""
        full = f"{self.root}/{folder}".rstrip("/")
        self.filesystem.invalidate_cache()  # hf:// caches in any case
        with suppress(FileNotFoundError, NotADirectoryError), self._errors():
            if self._is_s3 and "/" in full:
                found = self._find_s3(full, maxdepth=1, withdirs=True).values()
            else:
                found = self.filesystem.ls(full, detail=True)
            items = [item for item in found if not (item["type"] == "file" and item["name"].endswith("/"))]
            return sorted(items, key=lambda item: str(item["name"]))
        return []

    def _find(self, folder: str) -> list[str]:
        """The full paths of all files in a folder and its subfolders.

        Paths with `/` at the end are not files of a library: S3's console writes such an empty object to show a folder.
        """
        full = f"{self.root}/{folder}"
        with suppress(FileNotFoundError):
            return list(self._find_s3(full) if self._is_s3 else self.filesystem.find(full))
        return []

    def _find_s3(self, full: str, **options: Any) -> dict[str, dict[str, Any]]:
        """What lies in a folder, by path: a request for each thousand files. `ls` of an empty folder lists its parent too."""
        parent, _, name = full.rpartition("/")
        found: dict[str, dict[str, Any]] = self.filesystem.find(parent, prefix=f"{name}/", detail=True, **options)
        return found

    def _writable(self) -> None:
        if self._protocol == "hf":
            message = "a hub repository can be read as a library but not written; use a folder or a bucket"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=self.location)

    def _one_at_a_time_in_memory(self) -> AbstractContextManager[object]:
        return self._memory_lock if self._protocol == "memory" else nullcontext()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn missing rights, a missing bucket and a store out of reach into a PegasusError that says what to do."""
        try:
            yield
        except PermissionError as error:
            message = f"the store refuses access ({error}); check the credentials, and their rights to list, read and write here"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=self.location) from error
        except FileNotFoundError as error:
            if error_code(error) != "NoSuchBucket":
                raise
            message = "there is no such bucket; make it, or check its name"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=self.location) from error
        except client_errors() as error:
            message = f"the store cannot be used ({error}); check the network and the credentials"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=self.location) from error


def client_errors() -> tuple[type[Exception], ...]:
    """The errors of S3's client that are no OSError: no credentials, no connection. None where the client is not loaded."""
    module = sys.modules.get("botocore.exceptions")
    return (module.BotoCoreError,) if module is not None else ()


def error_code(error: OSError) -> str:
    """S3's name of what went wrong; empty if the error has none."""
    response = getattr(error.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


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
