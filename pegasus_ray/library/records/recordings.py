"""What people say about recordings: the person's name, the consent, and what a recording is there to give.

It comes from the table of videos or the command line and is kept by the video's content, so that it holds for every track and
every result of that video, of whatever size or version. It is no part of their keys: whoever mends a name, or notes that a
consent was withdrawn, writes a record, and everything that shows the person answers with it from then on.

A record holds only what was said, and each of its fields counts until it is said anew. So two commands that say different things
at the same time do not undo each other.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pegasus_ray.library.keys import KEY_DIGITS, digest
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.segments import MANY, Segments
from pegasus_ray.schemas.manifests import Recording
from pegasus_ray.schemas.parts import Attribute

FOLDER: Final = "recordings"
EVERYTHING: Final = tuple(Attribute)
"""In `Recording.lends`: whatever the recording shows, where something less was said before."""
FIELDS: Final = ("name", "consent", "lends")


def recording_of_video(identity: str) -> str:
    """The key of a video's recording, from what tells its content from others'."""
    return digest(identity.encode())[:KEY_DIGITS]


def read_recordings(library: Library) -> Mapping[str, Recording]:
    """What was said last about each recording, by its key."""
    found = Segments(library, FOLDER, Recording).read()
    return together(record for _, records in found for record in records)


def write_recordings(library: Library, said: Sequence[Recording]) -> None:
    """Note what is said about some recordings. Errors as `Library.put`."""
    if not said:
        return
    segments = Segments(library, FOLDER, Recording)
    segments.write(said)
    there = segments.there()
    if len(there) > MANY:
        found = segments.read(there)
        last = _last(record for _, some in found for record in some)
        segments.put_together(last.values(), [entry.name for entry, _ in found])


def together(records: Iterable[Recording]) -> dict[str, Recording]:
    """What some records say about each recording: of each field what was said last."""
    known: dict[str, Recording] = {}
    for (recording, field), record in _last(records).items():
        before = known.setdefault(recording, Recording(recording=recording))
        latest = max(record.time, before.time)
        known[recording] = before.model_copy(update={field: getattr(record, field), "time": latest})
    return known


def what_is_new(
    known: Recording, *, name: str = "", consent: str = "", lends: Sequence[Attribute] = ()
) -> Recording | None:
    """What is said about a recording beyond what is known; None if that is nothing. What is left empty is not said."""
    said: dict[str, Any] = {"name": name, "consent": consent, "lends": tuple(sorted(lends))}
    new = {field: value for field, value in said.items() if value and value != getattr(known, field)}
    # It counts from now on, also where what is known was said by a machine whose clock is ahead.
    moment = max(time.time(), known.time + 0.001)
    return Recording(recording=known.recording, time=moment, **new) if new else None


def _last(records: Iterable[Recording]) -> dict[tuple[str, str], Recording]:
    """By recording and field, the last record that says something about it, cut down to that field."""
    last = {}
    for record in sorted(records, key=lambda record: record.time):
        for field in FIELDS:
            if value := getattr(record, field):
                last[record.recording, field] = Recording(
                    recording=record.recording, time=record.time, **{field: value}
                )
    return last
