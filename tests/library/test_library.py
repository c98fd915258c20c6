"""Invariants of a library, on disk and in memory.

A result exists if and only if its manifest is valid and its payload is there. After a crash before the manifest, readers see
nothing. Of two drivers' manifests the first is kept, and both get it. A full disk leaves no incomplete files.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pegasus_ray.library.keys import digest
from pegasus_ray.library.library import MANIFEST, Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.sweep import sweep
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest, Provenance

KEY = "00000000000000aa"
OTHER = "00000000000000ab"
FILES: dict[str, bytes | Path] = {"avatar.safetensors": b"weights" * 100, "config.json": b"{}"}


@pytest.fixture(params=["folder", "memory"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Library:
    return Library(tmp_path / "lib" if request.param == "folder" else f"memory://{request.node.name}-{tmp_path.name}")


def test_what_is_committed_is_there_and_nothing_else(library: Library) -> None:
    assert not library.exists(Kind.AVATARS, KEY)
    made = library.commit(Kind.AVATARS, KEY, FILES, Provenance(source="ada.mp4", config={"steps": 3}))
    assert library.manifest(Kind.AVATARS, KEY) == made
    assert library.read(Kind.AVATARS, KEY, "avatar.safetensors") == FILES["avatar.safetensors"]
    assert made.file("config.json").sha256 == digest(b"{}")
    assert made.versions["numpy"]
    assert library.keys(Kind.AVATARS) == [KEY]
    assert library.keys(Kind.TRACKS) == []


def test_files_may_come_from_disk(library: Library, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"from disk")
    library.commit(Kind.MODELS, KEY, {"model.bin": tmp_path / "payload"}, Provenance())
    assert library.read(Kind.MODELS, KEY, "model.bin") == b"from disk"


def test_the_first_manifest_wins(library: Library) -> None:
    first = library.commit(Kind.AVATARS, KEY, {"a.bin": b"first"}, Provenance())
    again = library.commit(Kind.AVATARS, KEY, {"a.bin": b"second"}, Provenance())
    entry = library.store(Kind.AVATARS, KEY, "a.bin", b"third")
    sealed = library.seal(Kind.AVATARS, KEY, [entry], Provenance())
    assert first == again == sealed
    assert library.read(Kind.AVATARS, KEY, "a.bin") == b"first"


def test_a_crash_between_payload_and_manifest_leaves_nothing_and_is_redone(library: Library) -> None:
    library.store(Kind.AVATARS, KEY, "a.bin", b"payload of a killed run")
    assert not library.exists(Kind.AVATARS, KEY)
    assert Catalogue(library).entries(Kind.AVATARS) == []
    with pytest.raises(PegasusError) as caught:
        library.read(Kind.AVATARS, KEY, "a.bin")
    assert caught.value.reason is Reason.BAD_REFERENCE
    library.commit(Kind.AVATARS, KEY, {"a.bin": b"payload of the next"}, Provenance())
    assert library.read(Kind.AVATARS, KEY, "a.bin") == b"payload of the next"
    assert len(sweep(library, grace=0).moved) == 1
    assert sweep(library, grace=0).moved == ()
    assert library.read(Kind.AVATARS, KEY, "a.bin") == b"payload of the next"


@pytest.mark.parametrize("damage", ["torn manifest", "other key", "truncated payload", "missing payload"])
def test_damage_makes_a_result_not_exist_and_the_next_commit_heals_it(library: Library, damage: str) -> None:
    made = library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    folder = f"{Kind.AVATARS}/{KEY}"
    payload = f"{folder}/{made.files[0].path}"
    if damage == "torn manifest":
        library.storage.put(f"{folder}/{MANIFEST}", library.storage.read(f"{folder}/{MANIFEST}")[:50])
    elif damage == "other key":
        other = made.model_copy(update={"key": OTHER})
        library.storage.put(f"{folder}/{MANIFEST}", other.model_dump_json().encode())
    elif damage == "truncated payload":
        library.storage.put(payload, library.storage.read(payload)[:-1])
    else:
        library.storage.remove(payload)
    assert not library.exists(Kind.AVATARS, KEY)
    assert len(verify(library).bad) == 1
    assert library.commit(Kind.AVATARS, KEY, FILES, Provenance()) == made
    assert library.read(Kind.AVATARS, KEY, "avatar.safetensors") == FILES["avatar.safetensors"]
    assert verify(library).bad == ()


def test_a_payload_of_the_right_size_but_other_content_is_refused(library: Library) -> None:
    made = library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    library.storage.put(f"{Kind.AVATARS}/{KEY}/{made.files[1].path}", b"[]")
    with pytest.raises(PegasusError) as caught:
        library.read(Kind.AVATARS, KEY, "config.json")
    assert caught.value.reason is Reason.CORRUPT
    found = verify(library)
    assert found.manifests == 1
    assert len(found.bad) == 1


def test_racing_threads_agree_on_one_result(library: Library) -> None:
    def drive(number: int) -> Manifest:
        return library.commit(Kind.AVATARS, KEY, {"a.bin": b"%d" % number}, Provenance(seed=number))

    with ThreadPoolExecutor(8) as pool:
        manifests = list(pool.map(drive, range(24)))
    assert len({manifest.seed for manifest in manifests}) == 1
    assert library.read(Kind.AVATARS, KEY, "a.bin") == b"%d" % manifests[0].seed


def _drive(location: str, number: int, start: object, results: object) -> None:
    start.wait()
    made = Library(location).commit(Kind.AVATARS, KEY, {"a.bin": b"%d" % number}, Provenance(seed=number))
    results.put(made.seed)


def test_racing_processes_agree_on_one_result(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Barrier(4), context.Queue()
    drivers = [context.Process(target=_drive, args=(str(tmp_path), i, start, results)) for i in range(4)]
    for driver in drivers:
        driver.start()
    seeds = {results.get(timeout=30) for _ in drivers}
    for driver in drivers:
        driver.join()
    assert len(seeds) == 1
    assert Library(tmp_path).read(Kind.AVATARS, KEY, "a.bin") == b"%d" % seeds.pop()


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    library = Library(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(PegasusError) as caught:
            library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    assert caught.value.reason is Reason.DISK_FULL
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert library.commit(Kind.AVATARS, KEY, FILES, Provenance()).key == KEY


def test_create_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    library = Library(tmp_path)
    assert library.storage.create("a/b", b"1")
    assert not library.storage.create("a/b", b"2")
    assert library.storage.read("a/b") == b"1"


def test_gc_keeps_young_files_and_files_that_a_manifest_names(library: Library) -> None:
    library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    library.store(Kind.AVATARS, KEY, "loser.bin", b"x")
    library.store(Kind.SWAPS, OTHER, "part.parquet", b"x")
    assert sweep(library, grace=1000).moved == ()
    planned = sweep(library, grace=0, dry_run=True).moved
    assert len(planned) == 2
    assert sweep(library, grace=0).moved == planned
    assert verify(library).manifests == 1


def test_a_library_can_be_pickled(library: Library) -> None:
    library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    assert len(pickle.dumps(library)) < 2000
    assert pickle.loads(pickle.dumps(library)).exists(Kind.AVATARS, KEY)


def test_places_that_cannot_be_libraries_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", "nonsense://bucket"):
        with pytest.raises(PegasusError) as caught:
            Library(place)
        assert caught.value.reason is Reason.BAD_LIBRARY


def test_a_payload_lies_in_its_results_folder_and_nowhere_else(tmp_path: Path) -> None:
    library = Library(tmp_path / "lib")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    made = library.commit(Kind.AVATARS, KEY, {"a.bin": b"secret"}, Provenance())
    text = made.model_dump_json().replace(made.files[0].path, "../../../secret.txt")
    library.storage.put(f"{Kind.AVATARS}/{KEY}/{MANIFEST}", text.encode())
    assert not library.exists(Kind.AVATARS, KEY)
    with pytest.raises(PegasusError):
        library.read(Kind.AVATARS, KEY, "a.bin")
