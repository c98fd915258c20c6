"""A storage error in a swap's worker costs its shard, and neither the run nor the other shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.engine.swaps import ShardMaker
from pegasus_ray.library.library import Library
from pegasus_ray.library.storage import LocalStorage
from pegasus_ray.schemas.errors import Reason
from tests.engine.fakes import FakeSwapJob, key


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("operation", ["read", "create", "remove"])
def test_a_storage_error_costs_one_shard_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, times: int
) -> None:
    job = FakeSwapJob(key=key(1))
    library = Library(tmp_path)
    maker, shards = ShardMaker(library.location, "run", {job.key: job}, attempts=2), job.shards(library)
    rows_given = {
        "swap": np.array([job.key]),
        "shards": np.array([json.dumps([shard.frames for shard in shards])]),
    }
    whole, failing = getattr(LocalStorage, operation), [True] * times

    def fail_once(storage: LocalStorage, path: str, *rest: bytes, **options: int) -> object:
        if failing and ("swaps" in path or "marks" in path):
            failing.pop()
            raise ConnectionResetError("the store hung up")
        return whole(storage, path, *rest, **options)

    monkeypatch.setattr(LocalStorage, operation, fail_once)
    told = list(maker(rows_given))
    assert len(told) == len(shards)
    wrong = [(row["reason"][0], row["message"][0]) for row in told if row["reason"][0]]
    if operation == "remove" or times == 1:
        assert wrong == [], "it is tried again; a mark that stays costs a later try"
    else:
        assert len(wrong) == 1 and wrong[0][0] == Reason.INTERNAL and "hung up" in wrong[0][1]
    again = list(maker(rows_given))
    assert not any(row["reason"][0] for row in again), "the next run makes it"
