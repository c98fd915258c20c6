"""From talking-head videos to a library of animatable 3D head avatars whose attributes can be recombined on anyone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # importing the package stays fast, and needs no torch
    from pathlib import Path

    from pegasus_ray.reader.reader import Reader

__version__ = "0.1.0"


def open(location: str | Path) -> Reader:
    """Open a library for reading.

    Faces are personal data: the `consent` that comes with every row and result is to be obeyed.

    Example:
        library = pegasus_ray.open("people")
        for row in library.swaps(attribute="hair").rows():
            row["image"], row["part_mask"], row["consent"]

    Args:
        location: a folder, or a URL: `s3://…`, `gs://…`, `hf://…`.

    Raises:
        PegasusError: BAD_LIBRARY if there is no library, it is another release's, or it cannot be reached.
    """
    from pegasus_ray.reader.reader import Reader

    return Reader(location)
