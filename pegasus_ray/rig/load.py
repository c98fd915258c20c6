"""Loads a rig by its name, once in a process."""

from __future__ import annotations

from functools import cache

from pegasus_ray.rig.imported import digest_of_imported, load_imported
from pegasus_ray.rig.model import Rig
from pegasus_ray.rig.open_rig import digest_of_open_rig, load_open_rig

OPEN = "open"


@cache
def load_rig(name: str = OPEN) -> Rig:
    """The rig of that name: the open one, or one that was imported on this machine. Tracks and avatars name their rig.

    Raises:
        PegasusError: BAD_REFERENCE for a name that this machine does not have.
    """
    return load_open_rig() if name == OPEN else load_imported(name)


def models_of_rig(name: str) -> tuple[tuple[str, str], ...]:
    """Name and sha256 of what determines a rig; they are part of the key of whatever is made with it.

    Raises:
        PegasusError: BAD_REFERENCE for a name that this machine does not have; ASSET_CORRUPT where its file is damaged.
    """
    return ((f"rig {name}", digest_of_open_rig() if name == OPEN else digest_of_imported(name)),)
