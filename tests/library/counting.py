"""A storage that counts what it is asked for, as an object store would bill it: a listing is a request a thousand names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pegasus_ray.library.library import Library
from pegasus_ray.library.storage import Storage

NAMES_PER_REQUEST = 1000
_LISTINGS = ("files", "folders")
_REQUESTS = (*_LISTINGS, "put", "create", "read", "remove", "remove_tree", "move")


class CountingStorage:
    """Another storage, and how many requests of each kind it was sent.

    It gives no paths of this machine, so that a library on it works as on an object store.
    """

    def __init__(self, storage: Storage) -> None:
        self.location = storage.location
        self.counts: Counter[str] = Counter()
        self._storage = storage

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def local(self, path: str) -> Path | None:
        return None

    def __getattr__(self, name: str) -> Callable[..., Any]:
        asked = getattr(self._storage, name)
        if name not in _REQUESTS:
            raise AttributeError(name)

        def ask(*arguments: Any, **options: Any) -> Any:
            answer = None
            try:
                answer = asked(*arguments, **options)
                return answer
            finally:
                pages = math.ceil(len(answer) / NAMES_PER_REQUEST) if name in _LISTINGS and answer else 1
                self.counts[name] += pages

        return ask


def counted(library: Library) -> CountingStorage:
    """Have a library's requests counted from now on."""
    library.storage = CountingStorage(library.storage)
    return library.storage
