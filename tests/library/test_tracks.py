"""What is read is bit for bit what was saved; a changed payload is refused; the columns of truth are optional."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pegasus_ray.library.images import normals_to_rgb
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Track
from pegasus_ray.library.tracks import FRAMES_PER_FILE, Truth, load_track, load_truth, save_track
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Provenance
from pegasus_ray.schemas.tables import IMAGE

KEY = "0123456789abcdef"


def make_track(frames: int = 5, size: int = 16, seed: int = 0) -> Track:
    random = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    def picture(*shape: int, below: int = 256) -> np.ndarray:
        return random.integers(0, below, (frames, size, size, *shape)).astype(np.uint8)

    return Track(
        source="ada.mp4",
        rig="open",
        images=picture(3),
        mattes=picture(),
        parts=picture(below=19),
        landmarks=floats(frames, 478, 2),
        blendshapes=floats(frames, 52),
        shape=floats(7),
        expression=floats(frames, 52),
        head=floats(frames, 6),
        torso=floats(frames, 6),
        jaw=floats(frames, 3),
        eyes=floats(frames, 6),
        camera=floats(frames, 3),
        times=floats(frames),
        indices=np.arange(frames, dtype=np.int32) * 3,
        quality=floats(frames),
        identity=floats(128),
    )


def assert_same(a: Track, b: Track) -> None:
    for field in fields(Track):
        left, right = getattr(a, field.name), getattr(b, field.name)
        if isinstance(left, np.ndarray):
            assert left.dtype == right.dtype, field.name
            np.testing.assert_array_equal(left, right, err_msg=field.name)
        else:
            assert left == right, field.name


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_round_trip_is_exact(tmp_path: Path, where: str) -> None:
    library = Library(tmp_path if where == "folder" else f"memory://round-trip-{tmp_path.name}")
    track = make_track()
    save_track(library, KEY, track, Provenance())
    assert_same(load_track(library, KEY), track)
    assert load_truth(library, KEY) is None


def test_an_identity_is_optional_and_whole_in_any_selection(tmp_path: Path) -> None:
    track = make_track()
    np.testing.assert_array_equal(track.select([1, 3]).identity, track.identity)
    nobody = replace(track, identity=np.zeros(0, np.float32))
    manifest = save_track(Library(tmp_path), KEY, nobody, Provenance())
    assert "identity" not in pq.read_schema(tmp_path / Kind.TRACKS / KEY / manifest.files[0].path).names
    assert_same(load_track(Library(tmp_path), KEY), nobody)


def test_many_frames_span_files_in_order(tmp_path: Path) -> None:
    library = Library(tmp_path)
    track = make_track(frames=FRAMES_PER_FILE + 3, size=4)
    manifest = save_track(library, KEY, track, Provenance())
    assert [file.name for file in manifest.files] == ["frames-00000.parquet", "frames-00001.parquet"]
    assert_same(load_track(library, KEY), track)


def test_extreme_floats_survive(tmp_path: Path) -> None:
    track = make_track(frames=1)
    head = np.array([[np.float32(1e-45), -0.0, 3.4e38, np.pi, 1 / 3, -1]], dtype=np.float32)
    save_track(Library(tmp_path), KEY, replace(track, head=head), Provenance())
    assert load_track(Library(tmp_path), KEY).head.tobytes() == head.tobytes()


def test_equal_tracks_have_equal_payload_digests(tmp_path: Path) -> None:
    first = save_track(Library(tmp_path / "a"), KEY, make_track(), Provenance())
    second = save_track(Library(tmp_path / "b"), KEY, make_track(), Provenance())
    other = save_track(Library(tmp_path / "c"), KEY, make_track(seed=1), Provenance())
    assert first == second
    assert first.files[0].sha256 != other.files[0].sha256


def test_truth_is_kept_to_a_tenth_of_a_millimetre(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    track = make_track()
    normals = random.normal(size=(5, 16, 16, 3)).astype(np.float32)
    depth = random.uniform(0.2, 3, (5, 16, 16)).astype(np.float32)
    truth = Truth(depth=depth, normals=normals_to_rgb(normals / np.linalg.norm(normals, axis=-1, keepdims=True)))
    save_track(Library(tmp_path), KEY, track, Provenance(), truth=truth)
    back = load_truth(Library(tmp_path), KEY)
    assert back is not None
    np.testing.assert_allclose(back.depth, depth, atol=0.51e-4)
    np.testing.assert_array_equal(back.normals, truth.normals)


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    library = Library(tmp_path)
    manifest = save_track(library, KEY, make_track(), Provenance())
    path = tmp_path / Kind.TRACKS / KEY / manifest.files[0].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(PegasusError) as caught:
        load_track(library, KEY)
    assert caught.value.reason is Reason.CORRUPT
    assert len(verify(library).bad) == 1


def test_the_table_reads_as_any_parquet_with_pictures(tmp_path: Path) -> None:
    manifest = save_track(Library(tmp_path), KEY, make_track(), Provenance())
    table = pq.read_table(tmp_path / Kind.TRACKS / KEY / manifest.files[0].path)
    assert table.schema.field("image").type == IMAGE
    assert table["image"][0].as_py()["bytes"].startswith(b"\x89PNG")
    assert table.schema.field("head").type == pa.list_(pa.float32(), 6)
    assert table.schema.metadata[b"schema_version"] == b"1"
