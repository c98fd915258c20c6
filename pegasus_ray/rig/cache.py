"""The user's cache folder, for files that are made once on a machine: atomic writes into it, and digests of its contents."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pooch
from torch import Tensor


def cache_folder() -> Path:
    """`PEGASUS_CACHE`, or the user's cache folder of this system. It need not exist yet."""
    named = os.environ.get("PEGASUS_CACHE")
    return Path(named).expanduser() if named else Path(pooch.os_cache("pegasus-ray"))


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to, so that a reader sees a whole file or none.

    It replaces `path` if the body ends well, and is removed if the body raises. Missing folders are made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the names, shapes, types and contents of tensors on the CPU."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
