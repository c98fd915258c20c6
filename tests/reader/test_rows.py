"""Invariants of rows: they hold what was written; only what was asked for is decoded, one file at a time.

A file that is not what was written is refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pegasus_ray
from pegasus_ray.library import columns, storage
from pegasus_ray.library.columns import parquet_bytes
from pegasus_ray.library.library import MANIFEST, Library
from pegasus_ray.library.swaps import load_swap, swap_table
from pegasus_ray.reader import rows as reading
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Provenance
from pegasus_ray.schemas.tables import SCORES
from tests.library.test_swaps import make_swap
from tests.reader.small import ADA, BERT, CARL, FRAMES, SWAPS, flip_a_bit, path_of, track_of, truth_of

FIRST, SECOND, NOSE = SWAPS


def test_rows_of_a_track_are_what_was_written(shared: Path) -> None:
    track, truth = track_of(0), truth_of(0)
    tracks = pegasus_ray.open(shared).tracks(name="ada")
    rows = list(tracks.rows([*tracks.columns, "identity", "depth", "normals"]))
    wanted = {
        "index": track.indices,
        "time": track.times,
        "image": track.images,
        "matte": track.mattes,
        "parts": track.parts,
        "shape": np.broadcast_to(track.shape, (4, 7)),
        "identity": np.broadcast_to(track.identity, (4, 128)),
        "normals": truth.normals,
    } | {name: getattr(track, name) for name in ("landmarks", "blendshapes", "expression", "head", "camera", "quality")}
    for name, values in wanted.items():
        found = np.stack([row[name] for row in rows])
        assert found.dtype == values.dtype, name
        np.testing.assert_array_equal(found, values, err_msg=name)
    np.testing.assert_allclose(np.stack([row["depth"] for row in rows]), truth.depth, atol=0.51e-4)
    assert {row["result"] for row in rows} == {ADA.recording}


def test_rows_of_a_swap_are_what_was_written(shared: Path) -> None:
    swap = load_swap(Library(shared), FIRST)
    rows = list(pegasus_ray.open(shared).swaps(name=FIRST).rows())
    assert sorted(row["index"] for row in rows) == list(range(FRAMES))
    for row in rows:
        at = int(row["index"])
        np.testing.assert_array_equal(row["image"], swap.images[at])
        np.testing.assert_array_equal(row["part_mask"], swap.part_masks[at])
        np.testing.assert_array_equal(row["shape"], swap.shape[at])
        assert row["scores"] == {name: swap.scores[name][at] for name in SCORES}
        assert (row["target"], row["avatar"], row["attribute"]) == (ADA.recording, swap.avatar, "hair")


def test_a_score_that_was_not_measured_is_not_a_number(tmp_path: Path) -> None:
    table = swap_table(make_swap((0, 1)))
    scores = pa.StructArray.from_arrays([pa.nulls(2, pa.float32())] * len(SCORES), names=list(SCORES))
    place = table.schema.get_field_index("scores")
    unknown = table.set_column(place, table.schema.field(place), scores)
    Library(tmp_path).commit(Kind.SWAPS, FIRST, {"part.parquet": parquet_bytes(unknown)}, Provenance())
    for row in pegasus_ray.open(tmp_path).swaps.rows(["scores"]):
        assert all(np.isnan(value) for value in row["scores"].values())


def test_rows_that_failed_are_left_out(tmp_path: Path) -> None:
    table = swap_table(make_swap((0, 1, 2)))
    place = table.schema.get_field_index("status")
    failed = table.set_column(place, table.schema.field(place), pa.array(["ok", "failed", "ok"]))
    Library(tmp_path).commit(Kind.SWAPS, FIRST, {"part.parquet": parquet_bytes(failed)}, Provenance())
    assert [row["index"] for row in pegasus_ray.open(tmp_path).swaps.rows()] == [0, 2]


def test_only_what_was_asked_for_is_read_and_decoded(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    read: list[list[str]] = []
    decode, read_table = columns.decode_all, pq.ParquetFile.iter_batches

    def counted(pictures: list[bytes], subject: str) -> Any:
        decoded.append(len(pictures))
        return decode(pictures, subject)

    def noted(file: pq.ParquetFile, *arguments: Any, **options: Any) -> Any:
        read.append(options["columns"])
        return read_table(file, *arguments, **options)

    monkeypatch.setattr(columns, "decode_all", counted)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    swaps = pegasus_ray.open(shared).swaps(attribute="hair")
    assert all(set(row) == {"head", "result", "consent"} for row in swaps.rows(["head"]))
    assert not decoded
    assert all(names == ["head", "status"] for names in read)
    assert sum(1 for _ in swaps.rows("part_mask")) == sum(decoded) == 2 * FRAMES


def test_one_file_is_in_memory_at_a_time(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    read = storage.LocalStorage.read

    def counted(self: storage.LocalStorage, path: str, **options: Any) -> bytes:
        if path.endswith(".parquet"):
            opened.append(path)
        return read(self, path, **options)

    swaps = pegasus_ray.open(shared).swaps
    monkeypatch.setattr(storage.LocalStorage, "read", counted)
    rows = swaps.rows(["index"])
    assert not opened
    for number, _ in enumerate(rows):
        wanted = number // FRAMES * 3 + number % FRAMES // 3 + 1  # files of three rows, three, and one
        assert len(opened) == wanted
    assert len(opened) == len(set(opened)) == 9


def test_pictures_are_decoded_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = 3 * reading.ROWS_AT_ONCE + 1
    table = swap_table(make_swap(tuple(range(frames))))
    Library(tmp_path).commit(Kind.SWAPS, FIRST, {"part.parquet": parquet_bytes(table)}, Provenance())
    decoded: list[int] = []
    decode = columns.decode_all
    monkeypatch.setattr(columns, "decode_all", lambda p, s: (decoded.append(len(p)), decode(p, s))[1])
    indices = [row["index"] for row in pegasus_ray.open(tmp_path).swaps.rows(["index", "image"])]
    assert indices == list(range(frames))
    assert decoded == [reading.ROWS_AT_ONCE] * 3 + [1]


def test_a_corrupt_file_is_named(own: Path) -> None:
    path = flip_a_bit(Library(own), Kind.SWAPS, SECOND, 1)
    rows = pegasus_ray.open(own).swaps.rows()
    with pytest.raises(PegasusError) as caught:
        list(rows)
    assert caught.value.reason is Reason.CORRUPT
    assert SECOND in str(caught.value) and path.name in str(caught.value)


def test_a_file_that_lies_is_refused_though_its_digest_is_right(tmp_path: Path) -> None:
    table = swap_table(make_swap((0, 1))).replace_schema_metadata({"schema": "swap", "schema_version": "99"})
    Library(tmp_path).commit(Kind.SWAPS, FIRST, {"part.parquet": parquet_bytes(table)}, Provenance())
    with pytest.raises(PegasusError) as caught:
        list(pegasus_ray.open(tmp_path).swaps.rows())
    assert caught.value.reason is Reason.BAD_LIBRARY
    assert FIRST in str(caught.value)


def test_a_result_that_has_gone_since_is_named(own: Path) -> None:
    tracks = pegasus_ray.open(own).tracks
    assert len(tracks) == 3
    (own / Kind.TRACKS / BERT.recording / MANIFEST).unlink()
    for use in (lambda: list(tracks.rows()), tracks.files):
        with pytest.raises(PegasusError, match=BERT.recording):
            use()


def test_a_file_that_has_gone_since_is_named_before_others_open_it(own: Path) -> None:
    tracks = pegasus_ray.open(own).tracks
    path_of(Library(own), Kind.TRACKS, BERT.recording).unlink()
    for use in (lambda: list(tracks.rows()), tracks.files):
        with pytest.raises(PegasusError) as caught:
            use()
        assert caught.value.reason is Reason.CORRUPT and BERT.recording in str(caught.value)


def test_a_manifest_leads_other_readers_to_no_other_place(own: Path) -> None:
    library = Library(own)
    manifest = library.expect(Kind.TRACKS, BERT.recording)
    tracks = pegasus_ray.open(own).tracks
    lie = manifest.files[0].model_copy(update={"path": f"../{ADA.recording}/{manifest.files[0].path}"})
    changed = manifest.model_copy(update={"files": (lie,)})
    library.put(f"{Kind.TRACKS}/{BERT.recording}/{MANIFEST}", changed.model_dump_json().encode())
    with pytest.raises(PegasusError, match=BERT.recording):
        tracks.files()


def test_unknown_and_missing_columns_are_named(shared: Path) -> None:
    library = pegasus_ray.open(shared)
    for use in (library.swaps.rows, library.swaps.stream, library.swaps.to_datasets):
        with pytest.raises(PegasusError) as caught:
            use(["image", "depth"])  # at once, and not with the first row
        assert caught.value.reason is Reason.BAD_REFERENCE
        assert "depth" in str(caught.value) and "part_mask" in str(caught.value)
    for tables, column, lacking in (
        (library.swaps, "target_normals", NOSE),
        (library.tracks, "depth", BERT.recording),
        (library.tracks(name="carl"), "identity", CARL.recording),
    ):
        with pytest.raises(PegasusError, match=f"{lacking}.*no {column}"):
            list(tables.rows([column]))
    assert sum(1 for _ in library.swaps(attribute="hair").rows(["target_normals"])) == 2 * FRAMES
