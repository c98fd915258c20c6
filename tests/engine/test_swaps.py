"""A storage error in a swap's worker costs its shard, and neither the run nor the other shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.engine.swaps import ShardMaker
from pegasus_ray.library.library import Library
from pegasus_ray.library.storage import LocalStorage
from pegasus_ray.schemas.errors import Reason
from tests.engine.fakes import FakeSwapJob, key


@pytest.mark.parametrize("operation", ["read", "create", "remove"])
def test_a_storage_error_costs_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    job = FakeSwapJob(key=key(1))
    library = Library(tmp_path)
    maker, shards = ShardMaker(library.location, "run", {job.key: job}, attempts=2), job.shards(library)
    frames = [",".join(map(str, shard.frames)) for shard in shards]
    whole, failing = getattr(LocalStorage, operation), [True]

    def fail_once(storage: LocalStorage, path: str, *rest: bytes) -> object:
        if failing and ("swaps" in path or "marks" in path):
            failing.clear()
            raise ConnectionResetError("the store hung up")
        return whole(storage, path, *rest)

    monkeypatch.setattr(LocalStorage, operation, fail_once)
    rows = maker({"swap": np.array([job.key] * len(frames)), "frames": np.array(frames)})
    wrong = [(reason, message) for reason, message in zip(rows["reason"], rows["message"], strict=True) if reason]
    if operation == "remove":
        assert wrong == [], "a mark that stays costs a later try"
    else:
        assert len(wrong) == 1 and wrong[0][0] == Reason.INTERNAL and "hung up" in wrong[0][1]
    again = maker({"swap": np.array([job.key] * len(frames)), "frames": np.array(frames)})
    assert not any(again["reason"]), "the next run makes it"
