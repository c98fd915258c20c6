"""Invariants of the stream: each row comes exactly once, however many workers and processes read, also from a bucket.

The order follows from the seed and the epoch, and errors of workers are those of the library.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from torch.utils.data import DataLoader

import pegasus_ray
from pegasus_ray.library.library import Library
from pegasus_ray.reader.stream import ErrorInWorker, RowStream
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind
from tests.library.s3_server import running_s3
from tests.reader.small import FRAMES, SWAPS, flip_a_bit, write_tables

ALL = Counter((key, index) for key in SWAPS for index in range(FRAMES))


def names(loader: DataLoader[dict[str, object]]) -> list[tuple[str, int]]:
    """Result and frame of each row, in the order in which they come."""
    return [
        (key, int(index))
        for batch in loader
        for key, index in zip(batch["result"], batch["index"].tolist(), strict=True)
    ]


def test_rows_are_tensors(shared: Path) -> None:
    stream = pegasus_ray.open(shared).swaps(attribute="hair").stream()
    batch = next(iter(DataLoader(stream, batch_size=5)))
    assert (batch["image"].dtype, batch["image"].shape) == (torch.uint8, (5, 8, 8, 3))
    assert (batch["part_mask"].dtype, batch["part_mask"].shape) == (torch.uint8, (5, 8, 8))
    assert (batch["head"].dtype, batch["head"].shape) == (torch.float32, (5, 6))
    assert (batch["index"].dtype, batch["scores"]["seam"].dtype) == (torch.int32, torch.float32)
    assert batch["attribute"] == ["hair"] * 5
    assert batch["consent"][0].startswith("ada: research; ")
    tracks = pegasus_ray.open(shared).tracks(name="ada")
    batch = next(iter(DataLoader(tracks.stream(["landmarks", "depth", "time"]), batch_size=4)))
    assert batch["landmarks"].shape == (4, 478, 2)
    assert {value.dtype for value in batch.values() if torch.is_tensor(value)} == {torch.float32}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_each_row_comes_exactly_once(shared: Path, workers: int, shuffle: bool) -> None:
    stream = pegasus_ray.open(shared).swaps.stream(["index"], shuffle=shuffle)
    assert Counter(names(DataLoader(stream, batch_size=4, num_workers=workers))) == ALL


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_that_train_together_share_the_rows(shared: Path, workers: int) -> None:
    swaps = pegasus_ray.open(shared).swaps
    seen: Counter[tuple[str, int]] = Counter()
    for rank in range(2):
        stream = swaps.stream(["index"], shuffle=True, rank=rank, ranks=2)
        seen.update(names(DataLoader(stream, num_workers=workers)))
    assert seen == ALL
    with pytest.raises(PegasusError, match="rank"):
        swaps.stream(rank=2, ranks=2)


def test_the_order_follows_from_seed_and_epoch(shared: Path) -> None:
    swaps = pegasus_ray.open(shared).swaps

    def order(stream: RowStream, epoch: int = 0) -> list[tuple[str, int]]:
        stream.set_epoch(epoch)
        return names(DataLoader(stream))

    mixed = swaps.stream(["index"], shuffle=True)
    first = order(mixed)
    assert first == order(mixed) == order(swaps.stream(["index"], shuffle=True))
    assert first == order(pickle.loads(pickle.dumps(mixed)))
    plain = order(swaps.stream(["index"]))
    assert plain == list(ALL) == order(swaps.stream(["index"]), 1)
    others = [order(mixed, 1), order(swaps.stream(["index"], shuffle=True, seed=1)), plain]
    assert all(other != first and Counter(other) == ALL for other in others)


def test_workers_that_live_on_take_the_new_epoch(shared: Path) -> None:
    stream = pegasus_ray.open(shared).swaps.stream(["index"], shuffle=True)
    loader = DataLoader(stream, num_workers=1, persistent_workers=True)
    orders = []
    for epoch in (0, 1, 0):
        stream.set_epoch(epoch)
        orders.append(names(loader))
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("workers", [0, 1])  # PyTorch waits five seconds for each worker after an error
def test_a_corrupt_file_is_named(own: Path, workers: int) -> None:
    path = flip_a_bit(Library(own), Kind.SWAPS, next(iter(SWAPS)), 2)
    loader = DataLoader(pegasus_ray.open(own).swaps.stream(), num_workers=workers)
    with pytest.raises(PegasusError) as caught:
        list(loader)
    assert caught.value.reason is Reason.CORRUPT
    assert path.name in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_error_of_a_worker_stays_what_it_is() -> None:
    error = ErrorInWorker("disk_full: swaps/1: the disk: is full")
    again = ErrorInWorker(f"Caught ErrorInWorker in a worker.\nTraceback …\npackage.ErrorInWorker: {error}\n")
    assert (again.reason, again.message) == (Reason.DISK_FULL, "swaps/1: the disk: is full")
    assert isinstance(pickle.loads(pickle.dumps(again)), PegasusError)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with running_s3():
        fsspec.filesystem("s3").mkdir("reader")
        write_tables(Library("s3://reader/people"))
        yield "s3://reader/people"


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork"), (2, "spawn")])
def test_the_same_rows_come_from_a_bucket(bucket: str, workers: int, start: str | None) -> None:
    swaps = pegasus_ray.open(bucket).swaps
    assert len(list(swaps.rows(["index"]))) == ALL.total()
    context = multiprocessing.get_context(start) if start else None
    loader = DataLoader(swaps.stream(["index", "image"]), num_workers=workers, multiprocessing_context=context)
    assert Counter(names(loader)) == ALL


def test_files_in_a_bucket_are_urls_that_others_read(bucket: str, datasets: Any) -> None:
    swaps = pegasus_ray.open(bucket).swaps
    assert len(swaps.files()) == 9 and all(file.startswith(f"{bucket}/swaps/") for file in swaps.files())
    assert Counter(row["index"] for row in swaps.to_datasets(["index"])) == Counter(index for _, index in ALL)
