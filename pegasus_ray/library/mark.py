"""`library.json`, by which a place says that it is a library.

Nothing is written to a folder that holds other things and has no such file, and nothing in it is removed: the folders of a
library have names that other projects use too (`models`, `checkpoints`), and a wrong `--library` must do no harm.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence

from pegasus_ray.library.storage import Storage
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import LIBRARY_FORMAT, LibraryMark

MARK = "library.json"
MAX_MARK_BYTES = 1 << 16
_NAMES_SHOWN = 5  # of what a place holds, in an error


def read_mark(storage: Storage, *, older: bool = False) -> LibraryMark | None:
    """What says that a place is a library; None where nothing says so.

    Args:
        storage: the place.
        older: accept a library in the form of an earlier release, too.

    Raises:
        PegasusError: BAD_LIBRARY if its `library.json` is another program's, or of another release.
    """
    try:
        data = json.loads(storage.read(MARK, most=MAX_MARK_BYTES))
        version = data.get("format") if isinstance(data, dict) else None
        if isinstance(version, int) and version != LIBRARY_FORMAT and not (older and version < LIBRARY_FORMAT):
            message = (
                "was made by a later release of pegasus-ray; use that release, or another place"
                if version > LIBRARY_FORMAT
                else f"was made by an earlier release; `pegasus migrate --library {storage.location}` converts it"
            )
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=storage.location)
        return LibraryMark.model_validate(data)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, RecursionError) as error:  # of JSON, of its encoding, or of the schema
        message = f"its {MARK} is not one of ours; give another place"
        raise PegasusError(Reason.BAD_LIBRARY, message, subject=storage.location) from error


def write_mark(storage: Storage, *, form: int = LIBRARY_FORMAT) -> None:
    """Make a place a library, of today's format by default, unless another process just did."""
    made = LibraryMark(format=form, id=secrets.token_hex(8), created=time.time())
    storage.create(MARK, made.model_dump_json().encode())


def claim(storage: Storage) -> None:
    """Make sure that a place is a library, and make an empty one a library.

    Raises:
        PegasusError: BAD_LIBRARY if it holds other things and does not say that it is a library.
    """
    if read_mark(storage) is not None:
        return
    held = _names_held(storage)
    if not held:
        write_mark(storage)
    elif read_mark(storage) is None:  # else another driver made it between the two looks
        raise _not_ours(storage, held)


def expect_ours(storage: Storage) -> None:
    """Refuse a place that holds other things and does not say that it is a library; an empty one passes.

    Raises:
        PegasusError: BAD_LIBRARY, with the way out.
    """
    if read_mark(storage) is None and (held := _names_held(storage)):
        raise _not_ours(storage, held)


def names_in_short(names: Sequence[str]) -> str:
    """The first few of some names, for a message."""
    return ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")


def _names_held(storage: Storage) -> list[str]:
    """The names of all that lies directly in a place, but for hidden files."""
    names = [*storage.folders(""), *(entry.name for entry in storage.files(""))]
    return [name for name in names if not name.startswith(".")]


def _not_ours(storage: Storage, held: Sequence[str]) -> PegasusError:
    message = (
        f"holds {names_in_short(held)} and does not say that it is a library; give an empty folder, or "
        f"`pegasus verify --adopt --library {storage.location}` if an earlier release made it"
    )
    return PegasusError(Reason.BAD_LIBRARY, message, subject=storage.location)
