"""What people say about recordings: the person's name, the consent, and what a recording is there to give.

It comes from the table of videos or the command line and is kept by the key of the recording's track. It is no part of that key:
whoever mends a name, or notes that a consent was withdrawn, writes a record, and everything that shows the person answers with
it from then on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pegasus_ray.library.library import Library
from pegasus_ray.library.records.segments import MANY, Segments
from pegasus_ray.schemas.manifests import Recording
from pegasus_ray.schemas.parts import Attribute

FOLDER: Final = "recordings"
EVERYTHING: Final = tuple(Attribute)
"""In `Recording.lends`: whatever the recording shows, where something less was said before."""


def read_recordings(library: Library) -> Mapping[str, Recording]:
    """What was said last about each recording, by the key of its track."""
    return _last(record for _, records in Segments(library, FOLDER, Recording).read() for record in records)


def write_recordings(library: Library, said: Sequence[Recording]) -> None:
    """Note what is said about some recordings. Errors as `Library.put`."""
    if not said:
        return
    segments = Segments(library, FOLDER, Recording)
    segments.write(said)
    there = segments.there()
    if len(there) > MANY:
        found = segments.read(there)
        records = _last(record for _, some in found for record in some)
        segments.put_together(records.values(), [entry.name for entry, _ in found])


def with_what_is_said(
    known: Recording, *, name: str = "", consent: str = "", lends: Sequence[Attribute] = ()
) -> Recording | None:
    """What is known about a recording after something is said about it; what is left empty stays. None if that is no change."""
    said = {"name": name, "consent": consent, "lends": tuple(sorted(lends))}
    changed = known.model_copy(update={field: value for field, value in said.items() if value})
    return changed.model_copy(update={"time": time.time()}) if changed != known else None


def _last(records: Iterable[Recording]) -> dict[str, Recording]:
    return {record.track: record for record in sorted(records, key=lambda record: record.time)}
