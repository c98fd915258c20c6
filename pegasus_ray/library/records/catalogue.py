"""The catalogue: what a library holds, read at once, so that planning a hundred thousand results costs a few requests.

Each kind of results has a shelf: an entry a result, in segments. The shelf is a cache and never the truth. What there is, is
found by listing the results' folders, one request a thousand: entries of folders that are gone are dropped, and the manifests of
folders without an entry are read. So a shelf that is lost, or that a killed run did not complete, costs time and nothing else.
A result is still read by its manifest, and its content is checked then.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from pegasus_ray.library.library import Library, Standing
from pegasus_ray.library.mark import expect_ours
from pegasus_ray.library.records.recordings import read_recordings, together, write_recordings
from pegasus_ray.library.records.segments import MANY, Segments, side_by_side
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, Kind, Recording, ResultEntry, SeenPerson, entry_of
from pegasus_ray.schemas.parts import Attribute

FOLDER: Final = "catalogue"
SAVE_SECONDS: Final = 60.0
"""While a run is going on, new entries are written this often, so that the next run need not read their manifests."""
SAVE_AT_ONCE: Final = 500
"""New entries that are written without waiting."""
SAVE_WHEN_READ: Final = 32
"""New entries that a mere reader writes: so many manifests are not to be read again by the next one."""
CANDIDATES_SHOWN: Final = 8  # in the message about a name that fits several results, or none


@dataclass(slots=True, kw_only=True)
class _Shelf:
    """The entries of one kind, and what is to be done to its segments."""

    entries: dict[str, ResultEntry] = field(default_factory=dict)  # by key
    later: set[str] = field(default_factory=set)  # keys of what a later release wrote
    unsaved: dict[str, ResultEntry] = field(default_factory=dict)
    segments: list[str] = field(default_factory=list)  # names of those that the entries come from
    stale_by_work: dict[str, ResultEntry] = field(default_factory=dict)
    smaller_by_wish: dict[str, ResultEntry] = field(default_factory=dict)  # by the key of what was planned

    def put(self, entry: ResultEntry) -> None:
        """Take an entry up."""
        self.entries[entry.key] = entry
        if entry.is_stale and entry.work:
            known = self.stale_by_work.get(entry.work)
            if known is None or known.format_version <= entry.format_version:
                self.stale_by_work[entry.work] = entry
        if entry.instead_of and not entry.is_stale:
            known = self.smaller_by_wish.get(entry.instead_of)
            self.smaller_by_wish[entry.instead_of] = max(known, entry, key=_fineness) if known else entry


class Catalogue:
    """What a library holds, as it was when each shelf was first asked for, with what this process has added since."""

    def __init__(self, library: Library) -> None:
        """Nothing is read yet. What is not a library is refused when a shelf is asked for, as by `mark.expect_ours`."""
        self.library = library
        self._shelves: dict[Kind, _Shelf] = {}
        self._strangers: set[str] = set()  # recordings of whom only a manifest could tell
        self._people: dict[str, SeenPerson] = {}  # by recording, as far as anybody asked
        self._saved_at = time.monotonic()

    def entries(self, kind: Kind) -> Sequence[ResultEntry]:
        """The results of a kind in order of their keys, also those that an earlier version of its stage made."""
        entries = self._shelf(kind).entries
        return [entries[key] for key in sorted(entries)]

    def get(self, kind: Kind, key: str) -> ResultEntry | None:
        """A result's entry; None if there is no such result."""
        return self._shelf(kind).entries.get(key)

    def is_later(self, kind: Kind, key: str) -> bool:
        """Whether a later release wrote this result, so that it must be left alone."""
        return key in self._shelf(kind).later

    def of_same_work(self, kind: Kind, work: str) -> ResultEntry | None:
        """A result of the same inputs and configuration that an earlier version of its stage made."""
        return self._shelf(kind).stale_by_work.get(work)

    def instead_of(self, kind: Kind, key: str) -> ResultEntry | None:
        """What was made in place of a result for which there was not enough memory."""
        return self._shelf(kind).smaller_by_wish.get(key)

    def add(self, entry: ResultEntry) -> None:
        """Take up a result that has just been made. From time to time the new entries are written."""
        shelf = self._shelf(entry.kind)
        shelf.put(entry)
        shelf.unsaved[entry.key] = entry
        self._forget_people()
        waited = time.monotonic() - self._saved_at
        if waited >= SAVE_SECONDS or sum(len(shelf.unsaved) for shelf in self._shelves.values()) >= SAVE_AT_ONCE:
            self.save()

    def save(self) -> None:
        """Write what is not written yet. An error in writing is passed over: the next reader finds the results all the same."""
        self._saved_at = time.monotonic()
        for kind, shelf in self._shelves.items():
            with suppress(PegasusError, OSError):
                _write(Segments(self.library, f"{FOLDER}/{kind}", ResultEntry), shelf)

    def rebuild(self) -> None:
        """Make the shelves anew from the manifests alone. Errors as `Library.put`."""
        for kind in Kind:
            segments = Segments(self.library, f"{FOLDER}/{kind}", ResultEntry)
            shelf = _Shelf(segments=[segment.name for segment in segments.there()])
            self._look_at(kind, self.library.keys(kind), shelf)
            if shelf.entries or shelf.segments:
                shelf.segments = [segments.put_together(shelf.entries.values(), shelf.segments)]
            shelf.unsaved.clear()
            self._shelves[kind] = shelf

    def say(self, said: Sequence[Recording]) -> None:
        """Note what people say about recordings. Errors as `Library.put`."""
        write_recordings(self.library, said)
        known = [self.recordings[record.recording] for record in said if record.recording in self.recordings]
        self.recordings.update(together([*known, *said]))
        self._forget_people()

    @cached_property
    def recordings(self) -> dict[str, Recording]:
        """What people say about recordings, by their keys."""
        return dict(read_recordings(self.library))

    def recording_of(self, entry: ResultEntry) -> str:
        """The key of the recording that a result was made from; of one that shows several people, the target's."""
        return entry.seen[0] if entry.seen else entry.inputs.get("track", entry.key)

    def person(self, recording: str) -> SeenPerson:
        """Whom a recording shows, and under what consent: as was said last, else as the manifests have it.

        Where nobody ever gave a name, it is that of the video without the suffix.
        """
        if recording not in self._people:
            said = self.recordings.get(recording) or Recording(recording=recording)
            name, consent = said.name, said.consent
            if not name or not consent:
                held = self._alone.get(recording)
                if held is not None:
                    name = name or held.name or PurePosixPath(held.source).stem
                    consent = consent or held.consent
            self._people[recording] = SeenPerson(recording=recording, name=name, consent=consent)
        return self._people[recording]

    def people(self, entry: ResultEntry) -> tuple[SeenPerson, ...]:
        """Everybody who can be seen in a result. Of whom this library knows nothing else, its manifest tells."""
        people = {recording: self.person(recording) for recording in entry.seen or (self.recording_of(entry),)}
        strangers = {key for key, person in people.items() if not person.name and not person.consent} - self._strangers
        if entry.seen and strangers:
            self._strangers |= strangers  # no manifest is asked about them again
            with suppress(PegasusError):
                for told in self.library.expect(entry.kind, entry.key).seen:
                    known = people[told.recording]
                    people[told.recording] = self._people[told.recording] = SeenPerson(
                        recording=told.recording,
                        name=known.name or told.name,
                        consent=known.consent or told.consent,
                    )
        return tuple(people.values())

    def name(self, entry: ResultEntry) -> str:
        """The name by which people know a result: the person's, else that of its video without the suffix, else its key.

        A swap is named after what is borrowed, from whom and by whom; a transfer shows several people and goes by its source.
        """
        if entry.kind is Kind.SWAPS and len(entry.seen) == 2 and len(entry.attributes) == 1:
            target, lender = (self.person(recording).name for recording in entry.seen)
            if target and lender:
                return f"{entry.attributes[0]} of {lender} on {target}"
        if entry.kind in (Kind.SWAPS, Kind.TRANSFERS):
            return entry.source or entry.key
        named = self.person(self.recording_of(entry)).name
        return named or entry.name or PurePosixPath(entry.source).stem or entry.key

    def lends(self, entry: ResultEntry) -> tuple[Attribute, ...]:
        """The attributes that others may borrow from an avatar: those that it shows and its recording is there to give."""
        said = self.recordings.get(self.recording_of(entry))
        wanted = said.lends if said else ()
        return tuple(attribute for attribute in entry.attributes if not wanted or attribute in wanted)

    def find(self, reference: str, *kinds: Kind) -> ResultEntry:
        """The one result that a user refers to.

        What an earlier version of its stage made, or what was made smaller for want of memory, counts where there is no other.

        Args:
            reference: a key, the beginning of one, `kind/key`, the person's name, or the video's with or without suffix.
            kinds: kinds to search; all of them by default.

        Raises:
            PegasusError: BAD_REFERENCE if no result or more than one fits; the message names candidates.
        """
        return self._only(self._fitting(reference, kinds or tuple(Kind)), reference, kinds or tuple(Kind))

    def find_first(self, reference: str, *kinds: Kind) -> ResultEntry:
        """As `find`, in the first of several kinds that has any such result: a person's avatar and model have one name."""
        for kind in kinds:
            if fitting := self._fitting(reference, (kind,)):
                return self._only(fitting, reference, kinds)
        return self._only([], reference, kinds)

    def tracks_named(self, reference: str) -> ResultEntry | None:
        """The track that a user refers to; None if there is none. Raises PegasusError BAD_REFERENCE if several fit."""
        fitting = self._fitting(reference, (Kind.TRACKS,))
        return self._only(fitting, reference, (Kind.TRACKS,)) if fitting else None

    def preferred(self, entries: Iterable[ResultEntry]) -> list[ResultEntry]:
        """Of the results of each recording those that are neither stale nor made smaller, where there are such."""
        of_recording: dict[tuple[str, str], list[ResultEntry]] = {}
        for entry in entries:
            of_recording.setdefault((entry.kind, self.recording_of(entry)), []).append(entry)
        return [entry for same in of_recording.values() for entry in _best(same)]

    def _fitting(self, reference: str, kinds: Sequence[Kind]) -> list[ResultEntry]:
        kind, slash, key = reference.partition("/")
        if not slash or kind not in tuple(Kind):
            kind, key = "", reference
        known = [entry for of in kinds if kind in ("", of) for entry in self.entries(of)]
        if exact := [entry for entry in known if entry.key == key]:
            return exact
        # A name that people gave goes before that of a file, and both go before the beginning of a key.
        named = [entry for entry in known if key and key == self.name(entry)]
        named = named or [entry for entry in known if key and _is_source(entry, key)]
        return self.preferred(named or [entry for entry in known if key and entry.key.startswith(key)])

    def _only(self, fitting: Sequence[ResultEntry], reference: str, kinds: Sequence[Kind]) -> ResultEntry:
        if len(fitting) == 1:
            return fitting[0]
        what = "fits more than one result; give more of the key" if fitting else "is no result here"
        shown: Iterator[ResultEntry] = iter(fitting or [entry for kind in kinds for entry in self.entries(kind)])
        names = [
            f"{e.kind}/{e.key} ({self._described(e)})" for e, _ in zip(shown, range(CANDIDATES_SHOWN), strict=False)
        ]
        raise PegasusError(
            Reason.BAD_REFERENCE, f"{what}. There is: {', '.join(names) or 'nothing yet'}", subject=reference
        )

    def _described(self, entry: ResultEntry) -> str:
        """A result's name, and its source where that says more."""
        name = self.name(entry)
        return f"{name}, {entry.source}" if entry.source not in ("", name) else name

    @cached_property
    def _alone(self) -> Mapping[str, ResultEntry]:
        """A result that shows nobody else, by the recording: its track, or its avatar where that is elsewhere."""
        found: dict[str, ResultEntry] = {}
        for kind in (Kind.AVATARS, Kind.TRACKS):
            found |= {self.recording_of(entry): entry for entry in self.entries(kind) if len(entry.seen) < 2}
        return found

    def _forget_people(self) -> None:
        self._people.clear()
        self._strangers.clear()
        self.__dict__.pop("_alone", None)  # what `cached_property` keeps

    def _shelf(self, kind: Kind) -> _Shelf:
        if not self._shelves:
            expect_ours(self.library.storage)
        if kind not in self._shelves:
            self._shelves[kind] = self._read_shelf(kind)
        return self._shelves[kind]

    def _read_shelf(self, kind: Kind) -> _Shelf:
        """A shelf's segments, brought in line with the folders that there are."""
        segments = Segments(self.library, f"{FOLDER}/{kind}", ResultEntry)
        found = segments.read()
        listed = {entry.key: entry for _, entries in found for entry in entries if _is_ours(entry, kind)}
        there = self.library.keys(kind)
        shelf = _Shelf(segments=[segment.name for segment, _ in found])
        for key in there:
            if key in listed:
                shelf.put(listed[key])
        self._look_at(kind, [key for key in there if key not in listed], shelf)
        with suppress(PegasusError, OSError):  # a place that can only be read
            if not listed.keys() <= set(there):
                # Their folders are gone. Should a run make one anew and be killed, its old entry would be believed.
                shelf.segments = [segments.put_together(shelf.entries.values(), shelf.segments)]
                shelf.unsaved.clear()
            elif len(shelf.unsaved) >= SAVE_WHEN_READ:
                _write(segments, shelf)
        return shelf

    def _look_at(self, kind: Kind, keys: Sequence[str], shelf: _Shelf) -> None:
        """Read the manifests of some results and take up those that are whole."""
        looked = side_by_side(self.library, lambda key: self.library.examine(kind, key), keys)
        for key, (standing, manifest) in zip(keys, looked, strict=True):
            if manifest is not None:
                shelf.unsaved[key] = entry_of(manifest)
                shelf.put(shelf.unsaved[key])
            elif standing is Standing.LATER:
                shelf.later.add(key)


def _is_source(entry: ResultEntry, reference: str) -> bool:
    """Whether a reference is the name of a result's source, with or without suffix."""
    source = entry.source
    return reference in source and reference in (source, PurePosixPath(source).stem)  # first what is quick to find out


def _write(segments: Segments[ResultEntry], shelf: _Shelf) -> None:
    """Write a shelf's new entries, or all of them together where there are many segments."""
    if not shelf.unsaved:
        return
    if len(shelf.segments) >= MANY:
        shelf.segments = [segments.put_together(shelf.entries.values(), shelf.segments)]
    else:
        shelf.segments.append(segments.write(shelf.unsaved.values()))
    shelf.unsaved.clear()


def _is_ours(entry: ResultEntry, kind: Kind) -> bool:
    """Whether an entry is of a shelf, and not of a later release."""
    return entry.kind is kind and entry.format_version <= FORMAT_VERSIONS[kind]


def _fineness(entry: ResultEntry) -> tuple[float, int]:
    """Of two results that were made smaller than planned, the greater is the finer."""
    points = entry.summary.get("points", 0)
    return (float(points) if isinstance(points, int | float) else 0.0), entry.room


def _best(entries: Sequence[ResultEntry]) -> list[ResultEntry]:
    """Results that are neither stale nor made smaller; where there are none, what comes nearest."""
    current = [entry for entry in entries if not entry.is_stale] or list(entries)
    whole = [entry for entry in current if not entry.instead_of]
    if whole:
        return whole
    finest: dict[str, ResultEntry] = {}
    for entry in current:
        known = finest.get(entry.instead_of)
        finest[entry.instead_of] = max(known, entry, key=_fineness) if known else entry
    return list(finest.values())
