"""Invariants: a swap comes back exactly;

A killed run loses one shard at most; the manifest needs them all.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_ray.library.library import Library
from pegasus_ray.library.shards import ShardReport, find_shard, plan_shards, seal_swap, write_shard
from pegasus_ray.library.swaps import Swap, load_swap, swap_bytes, swap_of_table, swap_table
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Provenance
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.tables import SCORES

KEY = "00000000000000cc"


def make_swap(indices: tuple[int, ...], *, normals: bool = True) -> Swap:
    count, size = len(indices), 8
    random = np.random.default_rng(sum(indices))

    def floats(*shape: int) -> np.ndarray:
        return random.normal(size=(count, *shape)).astype(np.float32)

    def picture(*shape: int) -> np.ndarray:
        return random.integers(0, 256, (count, size, size, *shape)).astype(np.uint8)

    return Swap(
        target="a" * 16,
        avatar="b" * 16,
        attribute=Attribute.HAIR,
        indices=np.array(indices, np.int32),
        images=picture(3),
        part_masks=picture(),
        object_masks=picture(),
        target_normals=picture(3) if normals else None,
        source_normals=picture(3) if normals else None,
        shape=floats(7),
        expression=floats(52),
        head=floats(6),
        torso=floats(6),
        jaw=floats(3),
        eyes=floats(6),
        camera=floats(3),
        scores={name: random.random(count).astype(np.float32) for name in SCORES},
    )


def assert_same(a: Swap, b: Swap) -> None:
    for field in fields(Swap):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, field.name
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        elif field.name == "scores":
            assert left.keys() == right.keys()
            for name in left:
                np.testing.assert_array_equal(left[name], right[name])
        else:
            assert left == right, field.name


@pytest.mark.parametrize("normals", [True, False])
def test_rows_come_back(normals: bool) -> None:
    swap = make_swap((0, 2, 3), normals=normals)
    assert_same(swap_of_table(swap_table(swap)), swap)
    assert swap_bytes(swap) == swap_bytes(swap)


def test_scores_that_were_not_measured_come_back_as_such() -> None:
    swap = make_swap((0, 2), normals=False)
    unknown = replace(swap, scores={**swap.scores, "identity": np.full(2, np.nan, np.float32)})
    table = swap_table(unknown)
    assert [row["identity"] for row in table["scores"].to_pylist()] == [None, None]
    assert_same(swap_of_table(table), unknown)


def test_a_table_without_frames_gives_no_swap() -> None:
    with pytest.raises(PegasusError) as caught:
        swap_of_table(swap_table(make_swap((), normals=False)))
    assert caught.value.reason is Reason.TOO_FEW_FRAMES


@given(st.lists(st.integers(0, 999), unique=True, max_size=40), st.integers(1, 9))
def test_a_plan_covers_each_frame_once_and_names_depend_on_it_alone(frames: list[int], per_shard: int) -> None:
    shards = plan_shards(KEY, frames, per_shard=per_shard)
    assert [frame for shard in shards for frame in shard.frames] == frames
    assert len({shard.name for shard in shards}) == len(shards)
    assert shards == plan_shards(KEY, frames, per_shard=per_shard)
    assert not frames or shards[0].name != plan_shards("00000000000000cd", frames, per_shard=per_shard)[0].name


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_shards_survive_a_kill_and_the_manifest_comes_last(tmp_path: Path, where: str) -> None:
    library = Library(tmp_path if where == "folder" else f"memory://shards-{tmp_path.name}")
    whole = make_swap(tuple(range(10)))
    shards = plan_shards(KEY, range(10), per_shard=4)
    rows = [make_swap(shard.frames) for shard in shards]
    first = write_shard(library, shards[0], rows[0])
    assert [find_shard(library, shard) for shard in shards] == [first, None, None]
    assert not library.exists(Kind.SWAPS, KEY)
    with pytest.raises(PegasusError) as caught:
        seal_swap(library, KEY, shards, [first], Provenance())
    assert caught.value.reason is Reason.CORRUPT
    told = [write_shard(library, shard, swap) for shard, swap in zip(shards, rows, strict=True)]
    assert [ShardReport.from_json(report.to_json()) for report in told] == told
    manifest = seal_swap(library, KEY, shards, told, Provenance())
    coverage = np.concatenate([swap.scores["coverage"] for swap in rows])
    assert manifest.summary["coverage"] == pytest.approx(float(coverage.mean()))
    assert manifest.summary["frames"] == len(whole)
    assert 0 < manifest.summary["coverage"] < 1
    assert seal_swap(library, KEY, shards, told, Provenance(seed=9)) == manifest
    back = load_swap(library, KEY)
    np.testing.assert_array_equal(back.indices, np.arange(10))
    np.testing.assert_array_equal(back.images, np.concatenate([swap.images for swap in rows]))
    some = load_swap(library, KEY, frames=[7, 1])
    np.testing.assert_array_equal(some.images, back.images[[1, 7]])


def test_of_two_writers_of_a_shard_the_first_stays(tmp_path: Path) -> None:
    library = Library(tmp_path)
    (shard,) = plan_shards(KEY, range(3))
    first = write_shard(library, shard, make_swap((0, 1, 2)))
    assert write_shard(library, shard, make_swap((0, 1, 2), normals=False)) == first, "the report is of what is there"
    seal_swap(library, KEY, [shard], [first], Provenance())
    assert load_swap(library, KEY).target_normals is not None


def test_a_torn_shard_is_dropped_so_that_the_next_run_makes_it(tmp_path: Path) -> None:
    library = Library(tmp_path)
    (shard,) = plan_shards(KEY, range(3))
    library.storage.put(f"{Kind.SWAPS}/{KEY}/{shard.name}", swap_bytes(make_swap((0, 1, 2)))[:-30])
    assert find_shard(library, shard) is None
    assert library.storage.files(f"{Kind.SWAPS}/{KEY}") == []


def test_rows_that_are_not_the_plans_are_refused(tmp_path: Path) -> None:
    (shard,) = plan_shards(KEY, range(3))
    with pytest.raises(PegasusError):
        write_shard(Library(tmp_path), shard, make_swap((0, 1)))
    assert write_shard(Library(tmp_path), shard, make_swap((0, 2, 1)))
