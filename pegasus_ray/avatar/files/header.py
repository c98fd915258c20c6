"""The header of a safetensors file: what it says about its tensors, read before any tensor is.

A header is a few kilobytes and may claim any shape. Holding it against the shapes that are wanted costs nothing; only a file
that passes is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

MAX_HEADER_BYTES: Final = 1 << 20
"""Largest header that is parsed; a generative avatar of all blocks has about 40 kB."""
LENGTH_BYTES: Final = 8
"""Bytes at the start of a file that hold the header's length, little-endian."""
ITEM_BYTES: Final = {"F32": 4, "I64": 8}
"""Bytes per number of the types that are accepted."""


@dataclass(frozen=True, slots=True)
class Described:
    """Type and shape of a tensor."""

    dtype: str  # as in the file format: F32, I64, …
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return ITEM_BYTES[self.dtype] * prod(self.shape)

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def check_header(data: bytes, wanted: Mapping[str, Described]) -> None:
    """Refuse a file whose header describes other tensors than are wanted, or whose length is not that of these tensors.

    Raises:
        ValueError: with what is wrong, naming the tensor where it is about one.
    """
    found, length = _read_header(data)
    if unknown := set(found) ^ set(wanted):
        raise ValueError(f"tensors missing or unknown: {', '.join(sorted(unknown)[:8])}")
    for name, expected in wanted.items():
        if found[name] != expected:
            raise ValueError(f"tensor {name} is {found[name]}, expected {expected}")
    size, held = sum(tensor.size for tensor in wanted.values()), len(data) - LENGTH_BYTES - length
    if size != held:
        raise ValueError(f"its tensors take {size} bytes and it holds {held}")


def _read_header(data: bytes) -> tuple[dict[str, Described], int]:
    """The tensors that a file's header describes, by name, and the header's length in bytes."""
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if len(data) < LENGTH_BYTES or length > min(len(data) - LENGTH_BYTES, MAX_HEADER_BYTES):
        raise ValueError("its header is cut off or larger than any of ours")
    try:
        entries = json.loads(data[LENGTH_BYTES : LENGTH_BYTES + length])
    except (ValueError, RecursionError):
        raise ValueError("its header is not JSON") from None
    if not isinstance(entries, dict):
        raise ValueError("its header names no tensors")
    return {name: _described(name, entry) for name, entry in entries.items() if name != "__metadata__"}, length


def _described(name: str, entry: Any) -> Described:
    shape = entry.get("shape") if isinstance(entry, dict) else None
    if not isinstance(shape, list) or not all(type(side) is int for side in shape):
        raise ValueError(f"its header gives no shape for {name[:64]}")
    return Described(str(entry.get("dtype"))[:8], tuple(shape[:8]))
