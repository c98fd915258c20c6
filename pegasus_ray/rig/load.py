"""A rig by its name, loaded once a process."""

from __future__ import annotations

from functools import cache

from pegasus_ray.rig.model import Rig
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError, Reason

OPEN = "open"


@cache
def load_rig(name: str = OPEN) -> Rig:
    """The rig that tracks and avatars name. Raises PegasusError BAD_REFERENCE for a name that this machine does not have."""
    if name == OPEN:
        return load_open_rig()
    raise PegasusError(Reason.BAD_REFERENCE, f"there is no rig of that name here; there is {OPEN!r}", subject=name)
