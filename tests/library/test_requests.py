"""How many requests a storage is sent: the numbers may not grow with the library, or only a request a thousand results."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.run_plan import run_plan
from pegasus_ray.engine.swaps import ShardMaker
from pegasus_ray.jobs import swap as swap_job
from pegasus_ray.jobs.plan import plan_avatars, plan_swaps
from pegasus_ray.jobs.results import read_track
from pegasus_ray.jobs.sources import Source
from pegasus_ray.jobs.work import attempt
from pegasus_ray.library.library import Library
from pegasus_ray.library.records import ledger as ledger_writing
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import put_ledger_together, record, write_events
from pegasus_ray.library.records.status import Ledger, status
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import EventKind, InputEntry, Kind, PlannedItem, Provenance, SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PipelineConfig
from tests.jobs import small
from tests.library.counting import counted

PEOPLE = 300
CONFIG = PipelineConfig()


def key(number: int) -> str:
    return f"{number:016x}"


def test_build_db_over_finished_videos(tmp_path: Path) -> None:
    library, videos = Library("memory://finished"), tmp_path / "videos"
    videos.mkdir()
    for number in range(500):
        (videos / f"{number:03d}.mp4").write_bytes(b"%d" % number)
    sources = [Source(reference=str(videos), consent="signed")]
    first = plan_avatars(sources, Catalogue(library), CONFIG)
    assert len(first.jobs) == 1000 and len(first.recordings) == 500
    Catalogue(library).say(first.recordings)
    for job in first.jobs:
        library.commit(job.stage.kind, job.key, {"x": b""}, Provenance(seen=job.seen, summary={"frames": 9}))
    Catalogue(library).entries(Kind.TRACKS), Catalogue(library).entries(Kind.AVATARS)
    again = Library("memory://finished")
    storage = counted(again)
    catalogue = Catalogue(again)
    plan = plan_avatars(sources, catalogue, CONFIG)
    assert plan.recordings == (), "nothing new is said"
    outcomes = run_plan(plan, catalogue, EngineConfig(kind="ray"), lambda event: None)
    assert {outcome.status for outcome in outcomes} == {"skipped"} and len(outcomes) == 1000
    assert storage.total <= 15, storage.counts  # a listing and a segment of each shelf, the recordings, the ledger


def tell(library: Library, numbers: Iterable[int]) -> None:
    """Events of the ledger, two for each number: of a hundred items one fails."""
    for number in numbers:
        item = PlannedItem(stage=Stage.FIT, key=key(number), subject=f"{number}.mp4")
        record(library, item, EventKind.STARTED)
        record(library, item, EventKind.FAILED if number % 100 == 0 else EventKind.DONE, reason=Reason.NO_FACE)
    write_events(library)


def requests_of_status(library: Library) -> int:
    own = Library(library.location)
    storage = counted(own)
    catalogue, ledger = Catalogue(own), Ledger(own)
    assert status(catalogue, ledger)[Stage.FIT].failed == 50
    assert len(ledger.failures(catalogue)) == 50
    return storage.total


def test_status_with_ten_thousand_events() -> None:
    library = Library("memory://events")
    tell(library, range(5000))
    assert requests_of_status(library) <= 30


def test_status_after_runs_with_many_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path)
    for worker in range(50):
        monkeypatch.setattr(ledger_writing, "_journals", {})  # each writes segments of its own
        tell(library, range(100 * worker, 100 * worker + 100))
    assert requests_of_status(library) > 60
    for segment in (tmp_path / "ledger" / "events").iterdir():
        os.utime(segment, (0, 0))  # long ago: the next run puts them together
    put_ledger_together(library, done=())
    assert requests_of_status(library) <= 30


@pytest.fixture(scope="module")
def crowd() -> Library:
    """A library of many avatars, and a target."""
    library = Library("memory://crowd")
    for number in range(PEOPLE):
        seen = (SeenPerson(recording=key(5000 + number), name=f"person {number}"),)
        inputs = (InputEntry(name="track", key=seen[0].recording),)
        facts = Provenance(source=f"{number}.mp4", seen=seen, inputs=inputs, attributes=tuple(Attribute), rig="open")
        library.commit(Kind.AVATARS, key(number), {"x": b""}, facts)
    Catalogue(library).entries(Kind.AVATARS)
    return library


def test_the_plan_of_a_target_in_a_crowd(crowd: Library) -> None:
    library = Library(crowd.location)
    storage = counted(library)
    began = time.monotonic()
    catalogue = Catalogue(library)
    plan = plan_swaps(catalogue, "person 7", CONFIG)
    assert plan.counts(catalogue) == {Stage.SWAP: ((PEOPLE - 1) * 6, 0)}
    assert storage.total <= 15, storage.counts
    assert time.monotonic() - began < 60, "a plan that reads each result takes minutes on an object store"


def test_a_fit(tmp_path: Path) -> None:
    library = Library(tmp_path)
    job = small.stock(library)[0]
    read_track.cache_clear()
    own = Library(tmp_path)
    storage = counted(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "pegasus_ray.jobs.fit.read_track", lambda location, name: read_track.__wrapped__(_Known(own), name)
        )
        patch.setattr("pegasus_ray.jobs.results.Library", lambda known: known.library)
        assert attempt(job, own, lambda share, text: None).status == "done"
    assert storage.counts["read"] >= 2, "the track is read by this storage"
    assert storage.total <= 15, storage.counts


class _Known:
    """Stands in the place of a library's location."""

    def __init__(self, library: Library) -> None:
        self.library = library


def test_a_shard_of_a_swap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(tmp_path)
    fits = small.stock(library)
    for job in fits:
        assert attempt(job, library, lambda share, text: None).status == "done"
    monkeypatch.setattr(swap_job, "FRAMES_PER_SHARD", 1)
    hair, nose = small.swaps(fits)
    jobs = {job.key: job for job in (hair, nose)}
    maker = ShardMaker(library.location, "run", jobs, attempts=3)
    storage = counted(maker._library)
    monkeypatch.setattr("pegasus_ray.jobs.swap.Library", lambda location: maker._library)
    for job in (hair, nose):
        shards = job.shards(maker._library)
        before = storage.total
        rows = {"swap": np.array([job.key]), "shards": np.array([json.dumps([shard.frames for shard in shards])])}
        told = list(maker(rows))
        assert not any(row["reason"][0] for row in told), told
        assert all(json.loads(row["report"][0])["frames"] == 1 for row in told)
        assert len(shards) == 4
        assert (storage.total - before) / len(shards) <= 8, storage.counts
    sealed = storage.total
    reports = [swap_job.find_shard(Library(tmp_path), shard) for shard in hair.shards(library)]
    hair.seal(maker._library, reports)
    assert storage.total - sealed <= 4, "sealing reads no shard"
    assert library.exists(Kind.SWAPS, hair.key)
