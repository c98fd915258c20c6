"""Files that a command writes where the user asked for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pegasus_ray.schemas.errors import PegasusError, Reason


@contextmanager
def writing_to(path: Path, *, way_out: str = "give another place") -> Iterator[None]:
    """Make the folder of a file before the body writes it.

    Raises:
        PegasusError: BAD_CONFIG, with `way_out`, in place of an OSError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        message = f"cannot be written ({error.strerror}); {way_out}"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=str(path)) from error
