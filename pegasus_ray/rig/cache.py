"""Where things that are made once a machine are kept."""

from __future__ import annotations

import os
from pathlib import Path

import pooch


def cache_folder() -> Path:
    """`PEGASUS_CACHE`, or the user's cache folder of this system. It need not exist yet."""
    named = os.environ.get("PEGASUS_CACHE")
    return Path(named).expanduser() if named else Path(pooch.os_cache("pegasus-ray"))
