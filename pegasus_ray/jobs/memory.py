"""How much memory this process may use, by which it is decided whether it is worth trying again what did not fit before."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import torch

LIMITS: Final = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says how much memory a container may use, in its two versions of control groups."""


def machine_room() -> int:
    """Bytes of memory of the GPU if there is one, else of the machine or the container."""
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    rooms = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in LIMITS:
        with suppress(OSError, ValueError):  # no control groups, or no limit
            rooms.append(int(path.read_text()))
    return min(rooms)
