"""A library of the last format is converted: results keep their keys, consents and events stay, and nothing is lost midway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pegasus_ray.library.keys import key_of
from pegasus_ray.library.library import MANIFEST, Library
from pegasus_ray.library.mark import MARK
from pegasus_ray.library.migrate import LAST_FORMAT, migrate
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger, status
from pegasus_ray.library.storage import LocalStorage
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, InputEntry, Kind, LedgerEvent, Plan, PlannedItem, Provenance, Stage
from pegasus_ray.schemas.parts import Attribute

HAIR, NOSE = Attribute.HAIR, Attribute.NOSE
CONFIG = {"steps": 3, "rate": 1.0}
ANNA, BERT = "0" * 15 + "a", "0" * 15 + "b"  # tracks
VERSION = 4  # of avatars, in the last format


def fit_key(track: str, lends: list[Attribute], consent: str) -> str:
    return key_of(
        Kind.AVATARS, {"track": track}, {"fit": CONFIG, "lends": lends, "consent": consent}, format_version=VERSION
    )


ANNAS = fit_key(ANNA, [], "signed by anna")
BERTS = fit_key(BERT, [HAIR, NOSE], "signed by bert")
SWAP = "c" * 16


def put_old(library: Library, kind: Kind, key: str, consent: str, facts: Provenance, version: int) -> None:
    """A result as the last format had it."""
    made = library.commit(kind, key, {"a.bin": key.encode()}, facts)
    old = made.model_dump(mode="json") | {"consent": consent, "format_version": version}
    for name in ("seen", "work", "instead_of", "room"):
        del old[name]
    for entry in old["inputs"]:
        del entry["stale"]
    library.storage.put(f"{kind}/{key}/{MANIFEST}", json.dumps(old, indent=1).encode())


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path)

    def inputs(**keys: str) -> tuple[InputEntry, ...]:
        return tuple(InputEntry(name=name, key=key) for name, key in keys.items())

    for track in (ANNA, BERT):
        put_old(library, Kind.TRACKS, track, "", Provenance(source=f"{track[-1]}.mp4", summary={"frames": 9}), 3)
    for key, track, consent in ((ANNAS, ANNA, "signed by anna"), (BERTS, BERT, "signed by bert")):
        facts = Provenance(source="x.mp4", inputs=inputs(track=track), config=CONFIG, attributes=(HAIR, NOSE))
        put_old(library, Kind.AVATARS, key, consent, facts, VERSION)
    swap = Provenance(source="hair", inputs=inputs(track=ANNA, target=ANNAS, avatar=BERTS))
    put_old(library, Kind.SWAPS, SWAP, "signed by bert", swap, 4)
    for number, event in enumerate((EventKind.STARTED, EventKind.FAILED)):
        told = LedgerEvent(event=event, stage=Stage.FIT, key="f" * 16, time=100.0 + number)
        name = f"{told.key}-{int(told.time * 1e6):016d}-001-{event}-0badcafe.json"
        library.storage.put(f"ledger/fit/{name}", told.model_dump_json().encode())
    plan = Plan(time=1.0, items=(PlannedItem(stage=Stage.FIT, key="e" * 16),))
    library.storage.put("ledger/plans/0000000001000-0badcafe.json", plan.model_dump_json().encode())
    mark = json.loads(library.storage.read(MARK)) | {"format": LAST_FORMAT}
    library.storage.put(MARK, json.dumps(mark).encode())
    return Library(tmp_path)


def check(library: Library) -> None:
    catalogue = Catalogue(library)
    assert verify(library).bad == () and verify(library).later == ()
    assert [entry.key for entry in catalogue.entries(Kind.AVATARS)] == sorted([ANNAS, BERTS])
    swap = catalogue.get(Kind.SWAPS, SWAP)
    assert [person.consent for person in catalogue.people(swap)] == ["signed by anna", "signed by bert"]
    bert = catalogue.get(Kind.AVATARS, BERTS)
    assert catalogue.recordings[BERT].lends == (HAIR, NOSE), "what he was there to give was part of his key"
    assert bert.is_stale
    work = key_of(Kind.AVATARS, {"track": BERT}, {"fit": CONFIG}, format_version=0)
    assert catalogue.of_same_work(Kind.AVATARS, work) == bert, "--keep-stale finds it"
    ledger = Ledger(library)
    counts = status(catalogue, ledger)[Stage.FIT]
    assert (counts.stale, counts.failed, counts.waiting) == (2, 1, 1)
    assert [event.event for event in ledger.history] == [EventKind.STARTED, EventKind.FAILED]


def test_it_is_refused_before_and_whole_after(library: Library) -> None:
    with pytest.raises(PegasusError, match="pegasus migrate") as caught:
        Catalogue(library).entries(Kind.AVATARS)
    assert caught.value.reason is Reason.BAD_LIBRARY
    with pytest.raises(PegasusError, match="pegasus migrate"):
        library.put("x", b"")
    done = migrate(library)
    assert (done.manifests, done.events, done.left) == (5, 2, ())
    check(Library(library.location))
    again = migrate(library)
    assert (again.manifests, again.events) == (0, 0)


@pytest.mark.parametrize("writes", [1, 4, 6, 7, 8])
def test_interrupted_it_goes_on(library: Library, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    put, done = LocalStorage.put, [0]

    class Killed(BaseException):
        """As a signal."""

    def put_some(storage: LocalStorage, path: str, data: bytes, **options: bool) -> None:
        if done[0] == writes:
            raise Killed
        done[0] += 1
        put(storage, path, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "put", put_some)
        with pytest.raises(Killed):
            migrate(library)
    migrate(library)
    check(Library(library.location))


def test_what_is_of_no_known_form_is_left_and_named(library: Library) -> None:
    strange = b'{"format_version": 99, "consent": ""}'
    library.storage.put(f"{Kind.MODELS}/{'d' * 16}/{MANIFEST}", strange)
    assert migrate(library).left == (f"{Kind.MODELS}/{'d' * 16}",)
    assert library.storage.read(f"{Kind.MODELS}/{'d' * 16}/{MANIFEST}") == strange
