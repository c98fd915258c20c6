"""Invariants of a library on S3, with s3fs and a server on this machine.

Of several writers that create a file exactly one succeeds, and all see its bytes. An upload that ends midway leaves nothing that
can be seen. Two drivers on one library make each result once. What a machine has written, the others see at once. A commit
takes no more requests than today.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import fsspec
import pytest
from s3fs import S3FileSystem

from pegasus_ray.library import remote
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.storage import Storage, open_storage
from pegasus_ray.library.tracks import save_track
from pegasus_ray.library.verify import verify
from pegasus_ray.perception.assets.files import fetch
from pegasus_ray.perception.nets.landmarks import FACE_MODEL
from pegasus_ray.perception.nets.matte import MATTE_MODEL
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Provenance, Stage
from pegasus_ray.studio.film.render import render_track
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.sampling import sample_person
from tests.cli.conftest import TINY, run
from tests.library import s3_writers
from tests.library.s3_server import Refusal, Request, S3Server
from tests.library.s3_writers import SmallJob
from tests.painted import painted_track


def key(number: int) -> str:
    return f"{number:016x}"


@pytest.fixture
def location(bucket: str) -> str:
    """An address in a new bucket."""
    return f"s3://{bucket}/people"


@pytest.fixture
def storage(location: str) -> Storage:
    return open_storage(location)


@pytest.fixture(scope="module")
def others(server: S3Server) -> Iterator[ProcessPoolExecutor]:
    """Two processes, which start what they do at the same moment."""
    context = multiprocessing.get_context("spawn")  # s3fs cannot be used after a fork
    with ProcessPoolExecutor(2, context, s3_writers.wait_here, (context.Barrier(2),)) as pool:
        yield pool


def test_of_threads_that_create_a_file_one_succeeds(storage: Storage) -> None:
    for turn in range(12):
        start = Barrier(8)

        def create(number: int, name: str = f"marks/{turn}", start: Barrier = start) -> tuple[bool, bytes]:
            start.wait(60)
            return storage.create(name, b"%d" % number), storage.read(name)

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(create, range(8)))
        winners = [number for number, (made, _) in enumerate(answers) if made]
        assert len(winners) == 1
        assert {seen for _, seen in answers} == {b"%d" % winners[0]}


def test_of_processes_that_create_a_file_one_succeeds(storage: Storage, others: ProcessPoolExecutor) -> None:
    names = [f"marks/{turn}" for turn in range(15)]
    running = [others.submit(s3_writers.create_all, storage.location, names, number) for number in (0, 1)]
    first, second = (process.result(60) for process in running)
    assert [a + b for a, b in zip(first, second, strict=True)] == [1] * len(names)
    assert [storage.read(name) for name in names] == [b"0" if made else b"1" for made in first]


def test_creates_of_one_process_run_side_by_side(server: S3Server, storage: Storage) -> None:
    all_here = Barrier(4)

    def wait_for_the_others(request: Request) -> None:
        all_here.wait(10)

    with server.refusing(wait_for_the_others), ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda number: storage.create(f"marks/{number}", b""), range(4)))


@pytest.mark.parametrize("refusal", [Refusal(412, "PreconditionFailed"), Refusal(409, "ConditionalRequestConflict")])
def test_a_writer_that_was_late_is_told_so_in_other_words_too(
    server: S3Server, storage: Storage, refusal: Refusal
) -> None:
    storage.put("mark", b"first")
    with server.refusing(lambda request: refusal if request.method == "PUT" else None):
        assert not storage.create("mark", b"second")
    assert storage.read("mark") == b"first"


def test_a_put_that_meets_another_under_way_is_sent_again(
    server: S3Server, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "CONFLICT_WAITS", (0.0, 0.0))
    answers = iter([Refusal(409, "ConditionalRequestConflict"), Refusal(409, "ConditionalRequestConflict")])
    with server.refusing(lambda request: next(answers, None) if request.method == "PUT" else None):
        assert storage.create("mark", b"first")
    assert storage.read("mark") == b"first"


def test_large_files_go_up_in_parts(server: S3Server, storage: Storage, tmp_path: Path) -> None:
    data = os.urandom(2 * s3_writers.PART_BYTES + 1000)
    server.answered.clear()
    assert s3_writers.create_in_parts(storage.location, "large", data)
    assert sum(request.is_part for request in server.answered) == 3
    assert not s3_writers.create_in_parts(storage.location, "large", data[::-1])
    assert storage.read("large") == data
    (tmp_path / "middling").write_bytes(data[: 6 << 20])
    storage.put("middling", tmp_path / "middling")
    assert storage.read("middling") == data[: 6 << 20]
    assert [entry.size for entry in storage.files("")] == [len(data), 6 << 20]


def test_an_upload_that_fails_midway_leaves_nothing(server: S3Server, storage: Storage) -> None:
    data = bytes(2 * s3_writers.PART_BYTES + 1000)

    def refuse_the_last_part(request: Request) -> Refusal | None:
        return Refusal(403, "AccessDenied") if request.is_part and "partNumber=3" in request.query else None

    server.answered.clear()
    with server.refusing(refuse_the_last_part), pytest.raises(PegasusError) as caught:
        s3_writers.create_in_parts(storage.location, "swaps/large", data)
    assert caught.value.reason is Reason.BAD_LIBRARY
    last = server.answered[-1]
    assert (last.method, "uploadId=" in last.query) == ("DELETE", True), "the parts that had come are removed"
    assert storage.folders("") == []
    assert s3_writers.create_in_parts(storage.location, "swaps/large", data)


def test_an_upload_whose_client_is_killed_leaves_nothing_that_can_be_seen(server: S3Server, storage: Storage) -> None:
    data = bytes(2 * s3_writers.PART_BYTES + 1000)
    arguments = (storage.location, "swaps/large", data)
    client = multiprocessing.get_context("spawn").Process(target=s3_writers.create_in_parts, args=arguments)

    def kill_the_client(request: Request) -> None:
        if request.is_part and "partNumber=3" in request.query:
            os.kill(client.pid, signal.SIGKILL)

    with server.refusing(kill_the_client):
        client.start()
        client.join(120)
    assert client.exitcode == -signal.SIGKILL
    assert storage.folders("") == []
    with pytest.raises(FileNotFoundError):
        storage.read("swaps/large")
    assert s3_writers.create_in_parts(*arguments)
    assert storage.read("swaps/large") == data


def test_two_drivers_on_one_library_make_each_result_once(
    server: S3Server, location: str, others: ProcessPoolExecutor
) -> None:
    tracks = [SmallJob(key=key(number), stage=Stage.TRACK) for number in range(4)]
    fits = [SmallJob(key=key(10 + number), stage=Stage.FIT, needs=(key(number),)) for number in range(4)]
    swaps = [SmallJob(key=key(20 + number), stage=Stage.SWAP) for number in range(4)]
    jobs = [*tracks, *fits, *swaps]
    server.answered.clear()
    running = [others.submit(s3_writers.drive, location, jobs) for _ in range(2)]
    for process in running:
        outcomes = process.result(60)
        assert outcomes.keys() == {job.key for job in jobs}
        assert set(outcomes.values()) <= {"done", "skipped"}
    library = Library(location)
    assert {kind: library.keys(kind) for kind in (Kind.TRACKS, Kind.AVATARS, Kind.SWAPS)} == {
        Kind.TRACKS: [job.key for job in tracks],
        Kind.AVATARS: [job.key for job in fits],
        Kind.SWAPS: [job.key for job in swaps],
    }
    made = [
        r.path for r in server.answered if r.method == "PUT" and r.status == 200 and r.path.endswith("manifest.json")
    ]
    assert len(made) == len(set(made)) == len(jobs)
    found = verify(library)
    assert (found.manifests, found.bad) == (len(jobs), ())


def test_a_library_can_be_listed_while_another_process_writes(location: str, others: ProcessPoolExecutor) -> None:
    keys = [key(number) for number in range(16)]
    library, seen = Library(location), []
    writer = others.submit(s3_writers.commit_all, location, keys)
    while not writer.done():
        listed = [entry.key for entry in Catalogue(library).entries(Kind.AVATARS)]
        assert listed[: len(seen)] == seen, "what was there remains"
        assert all(library.read(Kind.AVATARS, name, "a.bin") == name.encode() for name in listed[len(seen) :])
        seen = listed
    writer.result()
    assert library.keys(Kind.AVATARS) == keys


def test_what_another_machine_has_written_is_seen_at_once(location: str) -> None:
    library, folder = Library(location), f"{Kind.AVATARS}/{key(1)}"
    library.store(Kind.AVATARS, key(1), "a.bin", b"1")
    assert len(library.storage.files(folder)) == 1
    other = S3FileSystem(skip_instance_cache=True)
    other.pipe_file(f"{location}/{folder}/new.json", b"new")
    assert library.storage.read(f"{folder}/new.json") == b"new"
    assert not library.storage.create(f"{folder}/new.json", b"mine")
    other.rm_file(f"{location}/{folder}/new.json")
    assert library.storage.create(f"{folder}/new.json", b"mine")


def test_requests_stay_few(server: S3Server, location: str) -> None:
    library, files = Library(location), {"a.bin": b"1", "b.json": b"{}"}
    library.commit(Kind.AVATARS, key(1), files, Provenance())

    def requests(act: Callable[[], object]) -> int:
        server.answered.clear()
        act()
        return len(server.answered)

    most = {
        "commit of two files": (4, lambda: library.commit(Kind.AVATARS, key(2), files, Provenance())),
        "commit of what is there": (2, lambda: library.commit(Kind.AVATARS, key(2), files, Provenance())),
        "whether a result exists": (2, lambda: library.exists(Kind.AVATARS, key(2))),
        "whether one exists that does not": (1, lambda: library.exists(Kind.AVATARS, key(3))),
        "two results listed": (1, lambda: library.keys(Kind.AVATARS)),
        "an empty folder listed": (1, lambda: library.storage.files("swaps/nothing")),
        "an empty folder removed": (1, lambda: library.storage.remove_tree("checkpoints/nothing")),
        "a file created": (1, lambda: library.storage.create("mark", b"")),
        "a file created that is there": (1, lambda: library.storage.create("mark", b"")),
        "a file removed": (1, lambda: library.storage.remove("mark")),
    }
    counted = {what: requests(act) for what, (_, act) in most.items()}
    assert {what: number for what, number in counted.items() if number > most[what][0]} == {}


def test_files_and_folders_are_listed_moved_and_removed(storage: Storage) -> None:
    for name in ("top", "a/one", "a/b/two", "a[1]/three"):
        storage.put(name, name.encode())
    storage.filesystem.pipe_file(f"{storage.root}/a/", b"")  # as S3's console makes a folder
    assert [entry.name for entry in storage.files("")] == ["top"]
    assert storage.folders("") == ["a", "a[1]"]
    assert [(entry.name, entry.size) for entry in storage.files("a")] == [("one", 5)]
    assert 0 <= storage.files("a")[0].age < 60
    storage.move("a", "c")
    assert storage.read("c/b/two") == b"a/b/two"
    storage.remove_tree("a[1]")
    storage.remove("top")
    storage.remove("top")
    assert (storage.files(""), storage.folders("")) == ([], ["c"])


def test_a_whole_bucket_can_be_a_library(location: str) -> None:
    library = Library(location.removesuffix("/people"))
    library.commit(Kind.AVATARS, key(1), {"a.bin": b"1"}, Provenance())
    assert library.keys(Kind.AVATARS) == [key(1)]
    assert verify(library).bad == ()


def test_what_is_wrong_with_a_store_is_named(server: S3Server, location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def complaint(place: str, act: Callable[[Storage], object]) -> str:
        with pytest.raises(PegasusError) as caught:
            act(open_storage(place))
        assert caught.value.reason is Reason.BAD_LIBRARY
        return caught.value.message

    acts: tuple[Callable[[Storage], object], ...] = (
        lambda storage: storage.read("x"),
        lambda storage: storage.put("x", b""),
        lambda storage: storage.create("x", b""),
        lambda storage: storage.files("x"),
    )
    for act in acts:
        assert "no such bucket" in complaint("s3://nobody-made-this/people", act)
        with server.refusing(lambda request: Refusal(403, "AccessDenied")):
            assert "refuses access" in complaint(location, act)
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        S3FileSystem.clear_instance_cache()  # of what holds the credentials
        assert "credentials" in complaint(location, acts[0])
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")  # where nothing answers
        patch.setattr(S3FileSystem, "retries", 1)
        S3FileSystem.clear_instance_cache()
        assert "network" in complaint(location, acts[0])
    S3FileSystem.clear_instance_cache()


def test_build_db_end_to_end(location: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    source = _source(location, tmp_path)
    place = ("--library", location, "--json")
    options = ("--config", tmp_path / "tiny.toml", "--engine", "inline", "--set", "track.observe.parser=landmarks")
    said = run("build-db", source, "--size", "96", *options, *place)
    assert said.code == 0, said.err
    (avatar,) = said.json["done"]
    again = run("build-db", source, "--size", "96", *options, *place)
    assert (again.code, again.json["done"], again.json["skipped"]) == (0, [], [avatar])
    assert run("verify", *place).json["bad"] == []
    library = Library(location)
    assert (library.keys(Kind.AVATARS), len(library.keys(Kind.TRACKS))) == ([avatar], 1)
    assert library.storage.folders("checkpoints") == []
    listed = run("status", *place).json["results"]
    library.storage.remove_tree("catalogue")
    assert run("status", *place).json["results"] == listed, "a lost catalogue is made anew from the manifests"
    assert run("verify", *place).json["bad"] == []
    assert library.storage.files(f"catalogue/{Kind.AVATARS}")


def _source(location: str, folder: Path) -> str:
    """The address of a studio person's video in the bucket; a track's name where the models are not there that a video needs."""
    try:
        fetch([FACE_MODEL, MATTE_MODEL])
    except PegasusError:
        save_track(Library(location), key(1), painted_track(0, 48, 8), Provenance(source="painted"))
        return "painted"
    somebody = sample_person(5)
    truth = render_track(somebody, perform(somebody, 8, fps=5.0), size=128, detail=0.4)
    write_video(list(truth.images), folder / "somebody.mp4", 5.0)
    videos = f"{location.rpartition('/')[0]}/videos"
    fsspec.filesystem("s3").put_file(str(folder / "somebody.mp4"), f"{videos}/somebody.mp4")
    return f"{videos}/*.mp4"
