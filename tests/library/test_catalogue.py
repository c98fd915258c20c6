"""Invariants of the catalogue: it lists what there is, whatever became of its files, and names people as was said last."""

from __future__ import annotations

import os
import shutil
import time
import tracemalloc
from pathlib import Path

import pytest

from pegasus_ray.library.library import MANIFEST, Library
from pegasus_ray.library.records import catalogue as shelves
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.recordings import read_recordings, together, what_is_new, write_recordings
from pegasus_ray.library.records.segments import MANY
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import (
    FORMAT_VERSIONS,
    InputEntry,
    Kind,
    Provenance,
    Recording,
    SeenPerson,
    entry_of,
)
from pegasus_ray.schemas.parts import Attribute

HAIR, NOSE = Attribute.HAIR, Attribute.NOSE
FILES = {"a.bin": b"payload"}


def key(number: int) -> str:
    return f"{number:016x}"


def put_avatar(
    library: Library, number: int, *, track: int = 0, name: str = "", consent: str = "", source: str = ""
) -> str:
    seen = (SeenPerson(recording=key(track or number + 100), name=name, consent=consent),)
    inputs = (InputEntry(name="track", key=seen[0].recording),)
    facts = Provenance(source=source, seen=seen, inputs=inputs, attributes=(HAIR, NOSE), summary={"psnr": 30.5})
    return library.commit(Kind.AVATARS, key(number), FILES, facts).key


@pytest.fixture(params=["folder", "memory"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Library:
    return Library(tmp_path / "lib" if request.param == "folder" else f"memory://{request.node.name}-{tmp_path.name}")


def keys(library: Library) -> list[str]:
    return [entry.key for entry in Catalogue(library).entries(Kind.AVATARS)]


def test_an_entry_is_what_the_manifest_says(library: Library) -> None:
    put_avatar(library, 1, name="anna", source="anna.mp4")
    manifest = library.expect(Kind.AVATARS, key(1))
    catalogue = Catalogue(library)
    assert catalogue.get(Kind.AVATARS, key(1)) == entry_of(manifest)
    catalogue.save()
    again = Catalogue(library).get(Kind.AVATARS, key(1))
    assert again == entry_of(manifest)
    assert (again.files, again.size, again.summary) == (1, 7, {"psnr": 30.5})


def test_what_comes_and_goes_is_seen_by_the_next_reader(library: Library) -> None:
    for number in range(3):
        put_avatar(library, number)
    Catalogue(library).save()
    catalogue = Catalogue(library)
    assert catalogue.get(Kind.AVATARS, key(1)) is not None
    put_avatar(library, 9)
    library.storage.remove_tree(f"{Kind.AVATARS}/{key(0)}")
    assert keys(library) == [key(1), key(2), key(9)]
    catalogue.save()
    assert keys(library) == [key(1), key(2), key(9)]


def test_a_lost_or_damaged_catalogue_costs_nothing_but_time(library: Library) -> None:
    for number in range(40):
        put_avatar(library, number)
    everybody = keys(library)
    assert len(everybody) == 40
    segments = library.storage.files(f"{shelves.FOLDER}/{Kind.AVATARS}")
    assert segments, "whoever had to read so many manifests writes the shelf"
    path = f"{shelves.FOLDER}/{Kind.AVATARS}/{segments[0].name}"
    for wrong in (b"", b"[{", b"{}", b'[{"key": "x"}]', b"\xff\xfe", b"[1, 2]"):
        library.storage.put(path, wrong)
        assert keys(library) == everybody
    library.storage.remove_tree(shelves.FOLDER)
    assert keys(library) == everybody


def test_entries_of_another_kind_or_of_nothing_are_not_believed(library: Library) -> None:
    put_avatar(library, 1)
    lie = entry_of(library.expect(Kind.AVATARS, key(1)))
    made_up = [lie.model_copy(update={"key": key(7)}), lie.model_copy(update={"kind": Kind.SWAPS})]
    text = "[" + ",".join(entry.model_dump_json() for entry in made_up) + "]"
    library.put(f"{shelves.FOLDER}/{Kind.AVATARS}/9.json", text.encode())
    assert keys(library) == [key(1)]


def test_verify_finds_out_what_the_catalogue_does_not_know(library: Library) -> None:
    put_avatar(library, 1)
    put_avatar(library, 2)
    Catalogue(library).save()
    library.storage.remove(f"{Kind.AVATARS}/{key(1)}/{MANIFEST}")
    verify(library)
    assert keys(library) == [key(2)]


def test_many_segments_become_one(library: Library) -> None:
    for number in range(MANY + 3):
        put_avatar(library, number)
        Catalogue(library).save() if number == 0 else _add(library, number)
    assert len(library.storage.files(f"{shelves.FOLDER}/{Kind.AVATARS}")) <= MANY
    assert len(keys(library)) == MANY + 3


def _add(library: Library, number: int) -> None:
    catalogue = Catalogue(library)
    catalogue.add(entry_of(library.expect(Kind.AVATARS, key(number))))
    catalogue.save()


def test_a_run_that_is_killed_has_written_most_of_what_it_made(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelves, "SAVE_AT_ONCE", 5)
    catalogue = Catalogue(library)
    assert catalogue.entries(Kind.AVATARS) == []
    for number in range(12):
        put_avatar(library, number)
        catalogue.add(entry_of(library.expect(Kind.AVATARS, key(number))))
    assert len(library.storage.files(f"{shelves.FOLDER}/{Kind.AVATARS}")) == 2, "ten of twelve, five at a time"


def test_a_library_that_can_only_be_read_is_listed(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    library = Library(tmp_path / "lib")
    for number in range(40):
        put_avatar(library, number)
    (tmp_path / "lib").chmod(0o500)
    try:
        assert len(keys(library)) == 40
    finally:
        (tmp_path / "lib").chmod(0o700)


def test_a_result_is_found_by_key_its_beginning_name_and_file(library: Library) -> None:
    put_avatar(library, 0xAA, name="ada", source="clip.mp4")
    put_avatar(library, 0xAB, source="bob.mp4")
    library.commit(Kind.TRACKS, key(0xAB), FILES, Provenance(source="bob.mp4"))
    catalogue = Catalogue(library)
    assert catalogue.find("ada").key == key(0xAA)
    assert catalogue.find("clip").key == key(0xAA)
    assert catalogue.find("bob.mp4", Kind.AVATARS).key == key(0xAB)
    assert catalogue.find(key(0xAB), Kind.TRACKS).kind is Kind.TRACKS
    assert catalogue.find(f"tracks/{key(0xAB)[:15]}").kind is Kind.TRACKS
    assert catalogue.find_first("bob", Kind.AVATARS, Kind.TRACKS).kind is Kind.AVATARS
    for reference, hint in (("bob", "tracks/"), ("0000", key(0xAA)), ("carol", key(0xAA)), ("", key(0xAA))):
        with pytest.raises(PegasusError) as caught:
            catalogue.find(reference)
        assert caught.value.reason is Reason.BAD_REFERENCE
        assert hint in caught.value.message


def test_two_people_of_one_name_are_an_error_that_names_both_on_every_path(library: Library) -> None:
    put_avatar(library, 1, name="anna", source="a/clip.mp4")
    put_avatar(library, 2, name="anna", source="b/clip.mp4")
    library.commit(Kind.MODELS, key(3), FILES, Provenance(source="anna.mp4"))
    catalogue = Catalogue(library)
    for find in (
        lambda: catalogue.find("anna", Kind.AVATARS),
        lambda: catalogue.find_first("anna", Kind.AVATARS, Kind.MODELS),
        lambda: catalogue.find("clip.mp4", Kind.AVATARS),
    ):
        with pytest.raises(PegasusError) as caught:
            find()
        assert key(1) in caught.value.message and key(2) in caught.value.message


def test_of_one_recording_what_is_current_comes_first(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as earlier:
        earlier.setitem(FORMAT_VERSIONS, Kind.AVATARS, FORMAT_VERSIONS[Kind.AVATARS] - 1)
        put_avatar(library, 1, track=50, name="anna")
        put_avatar(library, 2, track=51, name="bert")
    put_avatar(library, 3, track=50, name="anna")
    catalogue = Catalogue(library)
    assert catalogue.find("anna").key == key(3)
    assert catalogue.find("bert").key == key(2), "there is no other of him"
    put_avatar(library, 4, track=52, name="bert")
    with pytest.raises(PegasusError, match="more than one"):
        Catalogue(library).find("bert")  # another person of that name, however old


def test_what_is_said_about_a_recording_counts_at_once_and_everywhere(library: Library) -> None:
    put_avatar(library, 1, name="ana", consent="")
    both = (SeenPerson(recording=key(101), name="ana"), SeenPerson(recording=key(102), name="bert"))
    library.commit(Kind.SWAPS, key(9), FILES, Provenance(source="hair of bert on ana", seen=both))
    catalogue = Catalogue(library)
    catalogue.say([Recording(recording=key(101), name="anna", consent="signed", lends=(HAIR,), time=1.0)])
    for told in (catalogue, Catalogue(library)):
        assert told.find("anna").key == key(1)
        assert told.lends(told.find("anna")) == (HAIR,)
        swap = told.get(Kind.SWAPS, key(9))
        assert [(person.name, person.consent) for person in told.people(swap)] == [("anna", "signed"), ("bert", "")]
        with pytest.raises(PegasusError):
            told.find("ana")


def test_what_was_said_last_counts_and_much_talk_stays_small(library: Library) -> None:
    for number in range(3 * MANY):
        write_recordings(library, [Recording(recording=key(1), consent=f"version {number}", time=float(number))])
    assert read_recordings(library)[key(1)].consent == f"version {3 * MANY - 1}"
    assert len(library.storage.files("recordings")) <= MANY + 1


def test_only_what_is_said_changes() -> None:
    known = Recording(recording=key(1), name="anna", consent="signed", lends=(HAIR,), time=1.0)
    assert what_is_new(known) is None
    assert what_is_new(known, name="anna", lends=(HAIR,)) is None
    changed = what_is_new(known, consent="withdrawn")
    assert (changed.name, changed.consent, changed.lends) == ("", "withdrawn", ()), "only what is new is said"
    ahead = known.model_copy(update={"time": time.time() + 3600})
    withdrawn = what_is_new(ahead, consent="withdrawn")
    assert together([ahead, withdrawn])[key(1)].consent == "withdrawn", "whatever the other machine's clock"


def test_two_who_say_different_things_at_once_do_not_undo_each_other(library: Library) -> None:
    Catalogue(library).say([Recording(recording=key(1), name="ana", consent="signed", time=1.0)])
    one, other = Catalogue(library), Catalogue(library)
    known = one.recordings[key(1)], other.recordings[key(1)]
    one.say([what_is_new(known[0], consent="withdrawn")])
    other.say([what_is_new(known[1], name="anna")])
    for number in range(MANY + 1):  # they stay through being put together
        Catalogue(library).say([Recording(recording=key(2), name=f"bert {number}", time=float(number + 1))])
    said = read_recordings(library)[key(1)]
    assert (said.name, said.consent) == ("anna", "withdrawn")


def test_an_entry_does_not_outlive_its_folder(library: Library) -> None:
    put_avatar(library, 1)
    put_avatar(library, 2)
    Catalogue(library).save()
    library.storage.remove_tree(f"{Kind.AVATARS}/{key(1)}")
    assert keys(library) == [key(2)]
    library.store(Kind.AVATARS, key(1), "a.bin", b"of a run that was killed")
    assert keys(library) == [key(2)], "without a manifest nothing is there"


def test_what_a_later_release_wrote_is_left_alone_also_when_it_is_listed(library: Library) -> None:
    put_avatar(library, 1)
    manifest = library.expect(Kind.AVATARS, key(1)).model_copy(update={"format_version": 99})
    library.storage.put(f"{Kind.AVATARS}/{key(1)}/{MANIFEST}", manifest.model_dump_json().encode())
    library.put(f"{shelves.FOLDER}/{Kind.AVATARS}/1.json", f"[{entry_of(manifest).model_dump_json()}]".encode())
    catalogue = Catalogue(library)
    assert catalogue.get(Kind.AVATARS, key(1)) is None
    assert catalogue.is_later(Kind.AVATARS, key(1))


def test_the_finest_of_what_was_made_smaller_stands_for_all(library: Library) -> None:
    for number, points in ((1, 900), (2, 1600), (3, 400)):
        seen = (SeenPerson(recording=key(100), name="anna"),)
        facts = Provenance(seen=seen, instead_of=key(9), summary={"points": points})
        library.commit(Kind.AVATARS, key(number), FILES, facts)
    catalogue = Catalogue(library)
    assert catalogue.find("anna").key == key(2)
    assert catalogue.instead_of(Kind.AVATARS, key(9)).key == key(2)


@pytest.mark.parametrize("name", ["AC/DC", "tracks", "a.b"])
def test_odd_names_are_found(library: Library, name: str) -> None:
    put_avatar(library, 1, name=name)
    assert Catalogue(library).find(name).key == key(1)


def test_the_name_that_people_gave_goes_before_a_files(library: Library) -> None:
    put_avatar(library, 1, name="bert", source="anna.mp4")
    put_avatar(library, 2, name="anna", source="clip.mp4")
    assert Catalogue(library).find("anna").key == key(2)


def test_deep_and_huge_files_cost_a_sentence_and_little_memory(library: Library) -> None:
    put_avatar(library, 1)
    deep = b"[" * 200_000
    library.storage.put(f"{Kind.AVATARS}/{key(2)}/{MANIFEST}", deep)
    library.put(f"{shelves.FOLDER}/{Kind.AVATARS}/1.json", b"[" + b"0," * 500_000 + b"0]")
    wrong = b'{"files":[' + b"0," * 500_000 + b"0]}"
    library.storage.put(f"{Kind.AVATARS}/{key(3)}/{MANIFEST}", wrong)
    tracemalloc.start()
    assert keys(library) == [key(1)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50 << 20


def test_a_folder_that_is_no_library_is_named(tmp_path: Path) -> None:
    (tmp_path / "avatars" / "x").mkdir(parents=True)
    with pytest.raises(PegasusError, match="does not say that it is a library"):
        Catalogue(Library(tmp_path)).entries(Kind.AVATARS)
    shutil.rmtree(tmp_path / "avatars")
    assert Catalogue(Library(tmp_path)).entries(Kind.AVATARS) == []
