"""Taking over a library of the last format: results are kept under their keys, and what lies beside them is written anew.

Format 1 had a file for each event of the ledger, and one text of consent in a manifest, without saying whose. Each step can be
done again: a conversion that was interrupted goes on where it ended.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from pegasus_ray.library.keys import key_of
from pegasus_ray.library.library import MANIFEST, MAX_MANIFEST_BYTES, Library, Standing, is_key
from pegasus_ray.library.mark import MARK, names_in_short, read_mark, write_mark
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import EVENTS, LEDGER, PLANS
from pegasus_ray.library.records.recordings import recording_of_video, write_recordings
from pegasus_ray.library.records.segments import Segments, side_by_side
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import (
    LIBRARY_FORMAT,
    Kind,
    LedgerEvent,
    Manifest,
    Plan,
    Recording,
    SeenPerson,
    Stage,
)

LAST_FORMAT: Final = 1
SEVERAL: Final = " / "
"""Between consents, where two avatars of one recording had different ones."""
EVENTS_IN_SEGMENT: Final = 20_000
_RESULTS: Final = (Standing.WHOLE, Standing.LATER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What `migrate` did."""

    manifests: int  # that were written anew
    events: int  # of the ledger
    left: tuple[str, ...]  # manifests that are none of that format's, "kind/key"


def migrate(library: Library) -> Migration:
    """Convert a library of the last format; one of today's is left as it is.

    Raises:
        PegasusError: BAD_LIBRARY for what is no library, or cannot be written.
    """
    mark = read_mark(library.storage, older=True)
    if mark is None:
        message = "does not say that it is a library; `pegasus verify --adopt` marks one that an early release made"
        raise PegasusError(Reason.BAD_LIBRARY, message, subject=library.location)
    if mark.format == LIBRARY_FORMAT:
        return Migration(manifests=0, events=0, left=())
    library = Library(
        library.location, claimed=True
    )  # by its mark of the last format, which is written anew at the end
    manifests, left = _convert_manifests(library)
    events = _convert_ledger(library)
    library.storage.put(MARK, mark.model_copy(update={"format": LIBRARY_FORMAT}).model_dump_json().encode())
    Catalogue(library).rebuild()
    return Migration(manifests=manifests, events=events, left=tuple(left))


def adopt(library: Library) -> Migration:
    """Take over a library that was made by a release that did not mark them, and convert it.

    Raises:
        PegasusError: BAD_LIBRARY if it holds no result, or among its results something that is none.
    """
    if read_mark(library.storage, older=True) is None:
        foreign = [f"{kind}/{name}" for kind in Kind for name in library.storage.folders(kind) if not is_key(name)]
        if foreign:
            message = f"holds {names_in_short(foreign)}, which no release made; move it away, or give another place"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=library.location)
        # Manifests of the last format have a field that today's have not, and read like a later release's.
        if not any(library.examine(kind, key)[0] in _RESULTS for kind in Kind for key in library.keys(kind)):
            message = "holds no result and cannot be taken for a library; give an empty folder"
            raise PegasusError(Reason.BAD_LIBRARY, message, subject=library.location)
        write_mark(library.storage, form=LAST_FORMAT)
    return migrate(library)


def _convert_manifests(library: Library) -> tuple[int, list[str]]:
    """Write the manifests anew, inputs first, so that each finds who can be seen in its inputs."""
    seen: dict[str, tuple[SeenPerson, ...]] = {}  # by key
    said: dict[str, Recording] = {}  # by recording
    count, left = 0, []
    for kind in Kind:
        for key in library.keys(kind):
            path = f"{kind}/{key}/{MANIFEST}"
            try:
                facts = json.loads(library.storage.read(path, most=MAX_MANIFEST_BYTES))
                manifest = _converted(facts, kind, key, seen, said) if isinstance(facts, dict) else None
            except FileNotFoundError:
                continue
            except (ValueError, ValidationError, RecursionError):
                manifest = None
            if manifest is None:
                left.append(f"{kind}/{key}")
                continue
            seen[key] = manifest.seen
            if manifest.model_dump(mode="json") != facts:
                library.storage.put(path, manifest.model_dump_json(indent=1).encode())
                count += 1
    write_recordings(library, [record for record in said.values() if record.consent or record.lends])
    return count, left


def _converted(
    facts: dict[str, Any],
    kind: Kind,
    key: str,
    seen: Mapping[str, tuple[SeenPerson, ...]],
    said: dict[str, Recording],
) -> Manifest:
    """A manifest in today's form. What it says about a recording is added to `said`. Raises ValidationError."""
    old = dict(facts)
    consent = old.pop("consent", None)
    manifest = Manifest.model_validate(old)
    people = manifest.seen
    if kind is Kind.TRACKS and consent is not None:
        video = next((entry.sha256 for entry in manifest.inputs if entry.name == "video"), "")
        people = (SeenPerson(recording=recording_of_video(video) if video else key),)
    if kind is Kind.AVATARS:
        track = manifest.input("track")
        if consent is not None:
            shown = seen.get(track) or ((SeenPerson(recording=track),) if track else ())
            people = tuple(person.model_copy(update={"consent": consent}) for person in shown)
        for person in people:  # also where an interrupted conversion has been here
            work, lends = _work_of_fit(manifest, person.consent)
            manifest = manifest.model_copy(update={"work": manifest.work or work})
            known = said.get(person.recording) or Recording(recording=person.recording)
            texts = dict.fromkeys([*known.consent.split(SEVERAL), person.consent])
            words = SEVERAL.join(text for text in texts if text)  # nobody can tell which was said last
            said[person.recording] = known.model_copy(update={"consent": words, "lends": lends or known.lends})
    elif kind is not Kind.TRACKS and consent is not None:
        inputs = [entry.key for entry in manifest.inputs if entry.key]
        recordings = dict.fromkeys(person.recording for name in inputs for person in seen.get(name, ()))
        people = tuple(SeenPerson(recording=r, consent=said[r].consent if r in said else "") for r in recordings)
    return manifest.model_copy(update={"seen": people})


def _work_of_fit(manifest: Manifest, consent: str) -> tuple[str, tuple[Any, ...]]:
    """The digest of a fit's work, and what its video was there to give; both empty where its key tells of other work.

    The key was computed from the configuration as planned, and the manifest has that in effect: they agree unless memory ran out.
    """
    inputs = {"track": manifest.input("track")}
    for lends in ((), manifest.attributes):
        settings = {"fit": manifest.config, "lends": sorted(lends), "consent": consent}
        if key_of(Kind.AVATARS, inputs, settings, format_version=manifest.format_version) == manifest.key:
            return key_of(Kind.AVATARS, inputs, {"fit": manifest.config}, format_version=0), lends
    return "", ()


def _convert_ledger(library: Library) -> int:
    """Put the files of single events together into segments, and remove them."""
    folders = [f"{LEDGER}/{stage}" for stage in Stage]
    paths = [f"{folder}/{entry.name}" for folder in folders for entry in library.storage.files(folder)]
    read = side_by_side(library, lambda path: _event_of(library, path), paths)
    events = [event for event in read if event is not None]
    segments = Segments(library, EVENTS, LedgerEvent)
    for start in range(0, len(events), EVENTS_IN_SEGMENT):
        segments.write(events[start : start + EVENTS_IN_SEGMENT])
    plans = []
    names = [entry.name for entry in library.storage.files(PLANS)]
    for name in names:
        with suppress(FileNotFoundError, ValidationError):  # of today's form already, or cut off
            plans.append(Plan.model_validate_json(library.storage.read(f"{PLANS}/{name}")))
    if plans:
        Segments(library, PLANS, Plan).put_together(plans, names)
    for folder in folders:
        library.storage.remove_tree(folder)
    return len(events)


def _event_of(library: Library, path: str) -> LedgerEvent | None:
    with suppress(FileNotFoundError, ValidationError):
        return LedgerEvent.model_validate_json(library.storage.read(path))
    return None
