"""What a library writes beside its payloads: manifests, ledger events and plans.

Closed models: an unknown field is an error.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.parts import Attribute

KEY_PATTERN = r"^[0-9a-f]{16}$"
Key = Annotated[str, Field(pattern=KEY_PATTERN)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Kind(StrEnum):
    """The shelves of a library: what a stage makes."""

    TRACKS = "tracks"
    AVATARS = "avatars"
    SWAPS = "swaps"
    MODELS = "models"
    TRANSFERS = "transfers"


FORMAT_VERSIONS: dict[Kind, int] = dict.fromkeys(Kind, 2) | {
    Kind.TRACKS: 3,
    Kind.AVATARS: 4,
    Kind.SWAPS: 3,
    Kind.MODELS: 3,
    Kind.TRANSFERS: 3,
}
"""Part of each key: raise a kind's version when the same input and configuration come to give another result."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FileEntry(_Closed):
    """A payload file: the name that readers ask for, and where its bytes lie in the result's folder."""

    name: str
    path: str
    size: int = Field(ge=0)
    sha256: Digest


class InputEntry(_Closed):
    """An input: another result by key, or a file by digest."""

    name: str
    key: str = ""
    sha256: str = ""


class Provenance(_Closed):
    """How a result came to be, as far as it decides or explains what is in it.

    Timings and attempts are the ledger's.
    """

    source: str = ""  # name of the video or person it shows, for people to refer to
    inputs: tuple[InputEntry, ...] = ()
    config: dict[str, JsonValue] = {}  # as it was in effect: an out-of-memory ladder may have changed it
    versions: dict[str, str] = {}
    seed: int = 0
    device: str = "cpu"  # class of the device: cpu, or the accelerator's name
    threads: int = 1
    rig: str = ""
    attributes: tuple[Attribute, ...] = ()  # those that it may give to others
    consent: str = ""
    summary: dict[str, float | int | str] = {}


class Manifest(Provenance):
    """A result of a library. Written last: without a valid one nothing exists."""

    kind: Kind
    key: Key
    format_version: int
    files: tuple[FileEntry, ...]

    def file(self, name: str) -> FileEntry | None:
        """The entry of a payload file by the name that readers know."""
        return next((entry for entry in self.files if entry.name == name), None)

    def input(self, name: str) -> str:
        """The key of an input by its name; empty if it names none."""
        return next((entry.key for entry in self.inputs if entry.name == name), "")


class Stage(StrEnum):
    """The stages of the way through, by their verbs."""

    TRACK = "track"
    FIT = "fit"
    SWAP = "swap"
    PERSONALIZE = "personalize"
    TRANSFER = "transfer"

    @property
    def kind(self) -> Kind:
        """The shelf that the stage fills."""
        return _KINDS[self]


_KINDS = dict(zip(Stage, Kind, strict=True))


class EventKind(StrEnum):
    """What may happen to an item of work."""

    STARTED = "started"
    DONE = "done"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    RELEASED = "released"  # a person asks for another try


class LedgerEvent(_Closed):
    """One line of an item's history. Names no machine."""

    event: EventKind
    stage: Stage
    key: Key
    subject: str = ""  # the input, as a person would name it
    attempt: int = Field(default=1, ge=0)
    time: float  # seconds since 1970
    seconds: float = 0.0  # how long the attempt took
    reason: Reason | None = None
    message: str = ""


class PlannedItem(_Closed):
    """An item of work that a run means to do."""

    stage: Stage
    key: Key
    subject: str = ""
    needs: tuple[Key, ...] = ()  # results that must be there first


class Plan(_Closed):
    """What one run means to do; from it and the events, `status` tells what still waits."""

    time: float
    items: tuple[PlannedItem, ...]
