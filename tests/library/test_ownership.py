"""A library touches nothing but its own: not other people's folders, not what links point at, not what a later release wrote."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from pegasus_ray.jobs.work import outcome_before_run
from pegasus_ray.library.library import MANIFEST, Library, Standing
from pegasus_ray.library.mark import MARK
from pegasus_ray.library.migrate import adopt
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.library.storage import LocalStorage
from pegasus_ray.library.sweep import sweep
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, Kind, Provenance, Stage
from tests.engine.fakes import FakeJob

KEY, OTHER = "00000000000000aa", "00000000000000bb"
FILES = {"a.bin": b"payload"}


def _project(folder: Path) -> dict[str, bytes]:
    """A project of somebody else, with folders of the same names; its files."""
    files = {
        "models/resnet50/weights.pt": b"w",
        "checkpoints/run1/last.ckpt": b"c",
        "tracks/take-3/audio.wav": b"t",
        "ledger/2026.csv": b"l",
        "anna.mp4": b"v",
    }
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (0, 0))
    return files


def _all_files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_that_is_no_library_is_neither_swept_nor_written_nor_verified(tmp_path: Path) -> None:
    files, library = _project(tmp_path), Library(tmp_path)
    for act in (
        lambda: sweep(library, 0, empty=True),
        lambda: verify(library),
        lambda: library.commit(Kind.AVATARS, KEY, FILES, Provenance()),
        lambda: library.put("ledger/fit/x.json", b""),
        lambda: adopt(library),
    ):
        with pytest.raises(PegasusError) as caught:
            act()
        assert caught.value.reason is Reason.BAD_LIBRARY
    with pytest.raises(PegasusError, match=r"models.*--adopt"):
        verify(library)
    assert _all_files(tmp_path) == files


def test_foreign_folders_in_a_library_stay(tmp_path: Path) -> None:
    Library(tmp_path).commit(Kind.AVATARS, KEY, FILES, Provenance())
    files = _project(tmp_path)
    swept = sweep(Library(tmp_path), 0, empty=True)
    assert swept.moved == () and swept.emptied == ()
    assert files.items() <= _all_files(tmp_path).items()
    assert verify(Library(tmp_path)).bad == ()


def test_links_are_not_followed(tmp_path: Path) -> None:
    private, home = tmp_path / "private", tmp_path / "library"
    private.mkdir()
    (private / "diary.txt").write_text("mine")
    os.utime(private / "diary.txt", (0, 0))
    library = Library(home)
    library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    (home / "tracks").mkdir()
    (home / "tracks" / OTHER).symlink_to(private)
    (home / "avatars" / KEY / "extra").symlink_to(private / "diary.txt")
    (home / "checkpoints").mkdir()
    (home / "checkpoints" / f"fit-{KEY}").symlink_to(private)
    assert sweep(library, 0, empty=True).moved == ()
    assert library.keys(Kind.TRACKS) == []
    with pytest.raises(FileNotFoundError):
        library.storage.read(f"avatars/{KEY}/extra")
    for act in (
        lambda: library.commit(Kind.TRACKS, OTHER, FILES, Provenance()),
        lambda: library.storage.files(f"tracks/{OTHER}"),
        lambda: library.storage.remove(f"tracks/{OTHER}/diary.txt"),
        lambda: library.storage.remove_tree(f"tracks/{OTHER}/deeper"),
        lambda: library.storage.move(f"tracks/{OTHER}/diary.txt", "trash/x"),
    ):
        with pytest.raises(PegasusError, match="symbolic link"):
            act()
    assert _all_files(private) == {"diary.txt": b"mine"}


@pytest.mark.parametrize("change", ["version", "field"])
def test_what_a_later_release_wrote_is_left_alone(tmp_path: Path, change: str) -> None:
    library = Library(tmp_path)
    library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    path = tmp_path / "avatars" / KEY / MANIFEST
    manifest = json.loads(path.read_text())
    if change == "version":
        manifest |= {"format_version": FORMAT_VERSIONS[Kind.AVATARS] + 1, "files": "another shape"}
    else:
        manifest |= {"licence": "a field that this release does not know"}
    path.write_text(json.dumps(manifest))
    before = _all_files(tmp_path)
    assert library.examine(Kind.AVATARS, KEY) == (Standing.LATER, None)
    assert sweep(library, 0, empty=True).moved == ()
    found = verify(library)
    assert found.later == (f"avatars/{KEY}",) and found.bad == ()
    with pytest.raises(PegasusError, match="later version"):
        library.commit(Kind.AVATARS, KEY, {"a.bin": b"payload"}, Provenance(seed=1))
    outcome = outcome_before_run(FakeJob(key=KEY, stage=Stage.FIT), Catalogue(library), Ledger(library))
    assert outcome is not None and outcome.status == "failed" and "later version" in outcome.message
    assert _all_files(tmp_path) == before


def test_rubbish_is_no_later_release(tmp_path: Path) -> None:
    library = Library(tmp_path)
    for rubbish in (b"", b"{", b"[]", b'{"format_version": "9"}'):
        library.storage.put(f"avatars/{KEY}/{MANIFEST}", rubbish)
        assert library.examine(Kind.AVATARS, KEY)[0] is Standing.BROKEN


def test_an_empty_place_becomes_a_library_with_the_first_thing_written(tmp_path: Path) -> None:
    library = Library(tmp_path / "lib")
    assert sweep(library, 0).moved == () and verify(library).manifests == 0
    assert not (tmp_path / "lib").exists(), "looking makes nothing"
    library.put("ledger/x", b"")
    mark = json.loads((tmp_path / "lib" / MARK).read_text())
    assert mark.keys() == {"format", "id", "created"}
    Library(tmp_path / "lib").put("ledger/y", b"")
    assert json.loads((tmp_path / "lib" / MARK).read_text()) == mark


def test_a_foreign_or_later_mark_is_named(tmp_path: Path) -> None:
    for text, what in (('{"name": "a JavaScript project"}', "not one of ours"), ('{"format": 99}', "later release")):
        (tmp_path / MARK).write_text(text)
        with pytest.raises(PegasusError, match=what):
            Library(tmp_path).put("ledger/x", b"")


def test_a_library_of_an_earlier_release_is_adopted_when_asked(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    (tmp_path / MARK).unlink()
    with pytest.raises(PegasusError, match="--adopt"):
        Library(tmp_path).commit(Kind.AVATARS, OTHER, FILES, Provenance())
    (tmp_path / "models" / "resnet50").mkdir(parents=True)
    with pytest.raises(PegasusError, match="models/resnet50"):
        adopt(Library(tmp_path))
    (tmp_path / "models" / "resnet50").rmdir()
    adopt(Library(tmp_path))
    Library(tmp_path).commit(Kind.AVATARS, OTHER, FILES, Provenance())
    assert verify(Library(tmp_path)).manifests == 2


def test_swept_files_lie_in_the_trash_until_it_is_emptied(tmp_path: Path) -> None:
    library = Library(tmp_path)
    library.commit(Kind.AVATARS, KEY, FILES, Provenance())
    left = library.store(Kind.AVATARS, KEY, "loser.bin", b"x")
    library.put("ledger/fit/.part-0011", b"half")
    library.put("ledger/marks-1234/part.0", b"")
    library.put(f"checkpoints/fit-{OTHER}/fit.safetensors", b"state")
    assert sweep(library, 1000).moved == ()
    paths = {
        f"avatars/{KEY}/{left.path}",
        "ledger/fit/.part-0011",
        "ledger/marks-1234/part.0",
        f"checkpoints/fit-{OTHER}",
    }
    assert set(sweep(library, 0, dry_run=True).moved) == paths
    first = sweep(library, 0)
    assert set(first.moved) == paths and first.emptied == ()
    kept = [str(path.relative_to(tmp_path / "trash")) for path in (tmp_path / "trash").rglob("*") if path.is_file()]
    assert {path.partition("/")[2] for path in kept} == paths - {f"checkpoints/fit-{OTHER}"} | {
        f"checkpoints/fit-{OTHER}/fit.safetensors"
    }
    assert sweep(library, 0).emptied == (), "what was just moved may be wanted back"
    (folder,) = (tmp_path / "trash").iterdir()
    folder.rename(folder.with_name(f"{0:012d}-old"))
    assert sweep(library, 1000).emptied == (f"trash/{0:012d}-old",), "it has lain there for more than a day"
    library.store(Kind.AVATARS, KEY, "loser.bin", b"x")
    assert len(sweep(library, 0).moved) == 1 and len(sweep(library, 1000, empty=True).emptied) == 1
    assert not any((tmp_path / "trash").rglob("*.bin"))


def test_folders_that_become_empty_and_are_needed_again_are_no_error(tmp_path: Path) -> None:
    storage, failed = LocalStorage(tmp_path), []

    def work(number: int) -> None:
        try:
            for turn in range(300):
                assert storage.create(f"marks/{number}-{turn}", b"")
                storage.remove(f"marks/{number}-{turn}")
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
