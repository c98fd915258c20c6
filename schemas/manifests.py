"""What a library writes beside its payload files: manifests, the catalogue, the recordings, ledger events and plans.

The models are closed: an unknown field is an error.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field, JsonValue

from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.parts import Attribute

KEY_PATTERN = r"^[0-9a-f]{16}$"  # see `library.keys`
Key = Annotated[str, Field(pattern=KEY_PATTERN)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Kind(StrEnum):
    """What a stage makes. Results of a kind lie in the library's folder of that name."""

    TRACKS = "tracks"
    AVATARS = "avatars"
    SWAPS = "swaps"
    MODELS = "models"
    TRANSFERS = "transfers"


FORMAT_VERSIONS: dict[Kind, int] = dict.fromkeys(Kind, 2) | {
    Kind.TRACKS: 3,
    Kind.AVATARS: 5,
    Kind.SWAPS: 4,
    Kind.MODELS: 3,
    Kind.TRANSFERS: 3,
}
"""Part of each key. Raise a kind's version when the same input and configuration come to give another result."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


LIBRARY_FORMAT = 2
"""The format of a library as a whole: which folders there are, and how manifests and the ledger are written."""


class LibraryMark(_Closed):
    """`library.json`: says that a folder or a bucket is a library. It is made with the first thing that is written."""

    format: int = LIBRARY_FORMAT
    id: str = Field(pattern=KEY_PATTERN)  # drawn when the library is made
    created: float  # seconds since 1970


FileName = Annotated[str, Field(pattern=r"^[^/\\]*[^/\\.][^/\\]*$")]  # in its folder, and nowhere else


class FileEntry(_Closed):
    """A payload file: the name by which readers ask for it, and the file in the result's folder that holds it."""

    name: str
    path: FileName
    size: int = Field(ge=0)
    sha256: Digest


class InputEntry(_Closed):
    """An input: another result by key, or a file by digest."""

    name: str
    key: str = ""
    sha256: str = ""
    stale: bool = False  # an earlier version of its stage made it, and the user asked to keep it


class SeenPerson(_Closed):
    """Somebody who can be seen in a result. Name and consent are as they were when it was made; see `Recording`."""

    recording: Key  # that shows this person, see `Recording`
    name: str = ""
    consent: str = ""


class Recording(_Closed):
    """What people say about a recording: whom it shows, under what consent, and what it is there to give.

    It is no part of any result's key and lies beside the results, so that a word can be mended without making anything anew. What
    is said here goes before what the manifests say. What is empty was not said.
    """

    recording: Key  # digest of the video's content, or the key of a track that no video was made into
    name: str = ""  # of the person
    consent: str = ""
    lends: tuple[Attribute, ...] = ()  # if never said: whatever it shows
    time: float = 0.0  # when it was said, seconds since 1970; what was said last counts


class Provenance(_Closed):
    """How a result was made, as far as that determines or explains its content.

    Timings and attempts are in the ledger instead.
    """

    source: str = ""  # name of the video that it was made from, or a description of what was recombined
    inputs: Annotated[tuple[InputEntry, ...], FailFast()] = ()
    work: str = (
        ""  # digest of inputs and configuration without the version of the stage: equal in results of other versions
    )
    config: dict[str, JsonValue] = {}  # as it was in effect: steps taken when memory ran out may have changed it
    versions: dict[str, str] = {}
    seed: int = 0
    device: str = "cpu"  # class of the device: cpu, or the accelerator's name
    threads: int = 1
    rig: str = ""
    attributes: tuple[Attribute, ...] = ()  # those that it shows and others can borrow from it
    seen: Annotated[tuple[SeenPerson, ...], FailFast()] = ()  # everybody who can be seen in it
    instead_of: str = ""  # key of the finer result that was planned and for which there was not enough memory
    room: int = 0  # bytes of memory of the machine where that was so; 0 if nobody could say
    summary: dict[str, float | int | str] = {}


class Manifest(Provenance):
    """The manifest of a result. It is written last, and a result without a valid manifest does not exist."""

    kind: Kind
    key: Key
    format_version: int
    files: Annotated[tuple[FileEntry, ...], FailFast()]

    def file(self, name: str) -> FileEntry | None:
        """The entry of a payload file by its name; None if there is no such file."""
        return next((entry for entry in self.files if entry.name == name), None)

    def input(self, name: str) -> str:
        """The key of an input by its name; empty if there is no such input, or it is a file."""
        return next((entry.key for entry in self.inputs if entry.name == name), "")


class ResultEntry(_Closed):
    """A result as the catalogue lists it: what planning and people need to know of it."""

    key: Key
    kind: Kind
    format_version: int
    source: str = ""
    name: str = ""  # of the person, as its manifest has it; empty in results that show several
    consent: str = ""  # of that person
    seen: tuple[Key, ...] = ()  # recordings of everybody who can be seen in it
    attributes: tuple[Attribute, ...] = ()
    rig: str = ""
    inputs: dict[str, Key] = {}  # other results, by name
    work: str = ""
    instead_of: str = ""
    room: int = 0
    summary: dict[str, float | int | str] = {}
    files: int = 0
    size: int = 0  # bytes of all payload files

    @property
    def is_stale(self) -> bool:
        """Whether an earlier version of its stage made it: a run makes it anew, under another key."""
        return self.format_version < FORMAT_VERSIONS[self.kind]


def entry_of(manifest: Manifest) -> ResultEntry:
    """A manifest's entry in the catalogue."""
    alone = manifest.seen[0] if len(manifest.seen) == 1 else None
    return ResultEntry(
        key=manifest.key,
        kind=manifest.kind,
        format_version=manifest.format_version,
        source=manifest.source,
        name=alone.name if alone else "",
        consent=alone.consent if alone else "",
        seen=tuple(person.recording for person in manifest.seen),
        attributes=manifest.attributes,
        rig=manifest.rig,
        inputs={entry.name: entry.key for entry in manifest.inputs if entry.key},
        work=manifest.work,
        instead_of=manifest.instead_of,
        room=manifest.room,
        summary=manifest.summary,
        files=len(manifest.files),
        size=sum(file.size for file in manifest.files),
    )


class Stage(StrEnum):
    """The stages of the pipeline."""

    TRACK = "track"
    FIT = "fit"
    SWAP = "swap"
    PERSONALIZE = "personalize"
    TRANSFER = "transfer"

    @property
    def kind(self) -> Kind:
        """What the stage makes."""
        return _KINDS[self]


_KINDS = dict(zip(Stage, Kind, strict=True))  # both are declared in the same order


class EventKind(StrEnum):
    """What may happen to an item."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    RELEASED = "released"  # a user allows another attempt


class LedgerEvent(_Closed):
    """One event in an item's history. It names no machine."""

    event: EventKind
    stage: Stage
    key: Key
    subject: str = ""  # the input, as a user would name it
    attempt: int = Field(default=1, ge=0)
    time: float  # seconds since 1970
    seconds: float = 0.0  # how long the attempt took
    reason: Reason | None = None
    message: str = ""


class PlannedItem(_Closed):
    """An item: one result that a run is going to make."""

    stage: Stage
    key: Key
    subject: str = ""
    needs: tuple[Key, ...] = ()  # results that must be there first


class Plan(_Closed):
    """What one run is going to make. From it and the events, `status` tells which items wait."""

    time: float
    items: tuple[PlannedItem, ...]
