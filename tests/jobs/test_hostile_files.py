"""Files of strangers are refused by name, before they have cost memory, and nothing is written.

Each file here is whole as far as the library can tell: its digest and size are those of its manifest. What it says is a lie.
"""

from __future__ import annotations

import base64
import gc
import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, save

from pegasus_ray.avatar.fields.avatar import FieldAvatar, Fields
from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.files.fields import dump_fields
from pegasus_ray.jobs.results import read_avatar, read_fields, read_generative, read_track
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import load_swap, swap_table
from pegasus_ray.library.tracks import _table, load_track
from pegasus_ray.perception.assets import files as assets
from pegasus_ray.perception.footage.video import open_video
from pegasus_ray.rig.flame import ARRAYS, FlameArrays
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.manifests import Kind, Provenance
from tests.library.test_swaps import make_swap
from tests.library.test_tracks import make_track
from tests.painted import painted_avatar

MOST_BYTES = 200 << 20
KEY = "00000000000000ee"
POINTS, NETWORKS, CONFIG, FRAMES = "avatar.safetensors", "fields.safetensors", "config.json", "frames-00000.parquet"
Read = Callable[[], object]

SMALL = FieldConfig(
    code=4, field_width=16, field_depth=3, field_skip=2, deformer_width=8, deformer_depth=2, shading_width=8
)


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """The files of an avatar with networks that has nothing wrong with it."""
    avatar, rig = painted_avatar(), load_rig()
    networks = FieldAvatar(rig, avatar, SMALL, torch.Generator().manual_seed(0))
    return dump_fields(avatar, Fields(networks=networks, points=avatar))


def with_config(files: Mapping[str, bytes], fields: Mapping[str, Any] = {}, **changes: Any) -> dict[str, bytes]:
    config = json.loads(files[CONFIG]) | changes
    if fields:
        config["fields"] |= fields
    return {**files, CONFIG: json.dumps(config).encode()}


def with_tensor(
    files: Mapping[str, bytes], name: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> dict[str, bytes]:
    tensors = load(files[POINTS])
    return {**files, POINTS: save(tensors | {name: change(tensors[name].clone()).contiguous()})}


def with_header(files: Mapping[str, bytes], change: Callable[[dict[str, Any]], object]) -> dict[str, bytes]:
    data = files[POINTS]
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    change(header)
    text = json.dumps(header).encode()
    return {**files, POINTS: len(text).to_bytes(8, "little") + text + data[end:]}


def put(index: Any, value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(tensor: torch.Tensor) -> torch.Tensor:
        tensor[index] = value
        return tensor

    return change


HUGE = {"field_width": 1024, "field_depth": 64, "deformer_width": 1024, "deformer_depth": 64}
AVATARS: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "networks of gigabytes in a few kilobytes": (lambda f: with_config(f, HUGE), "missing or unknown"),
    "wide networks": (lambda f: with_config(f, {"field_width": 2048}), "expected F32"),
    "networks beyond all bounds": (lambda f: with_config(f, {"field_width": 4096, "field_depth": 64}), "field_width"),
    "codes without end": (lambda f: with_config(f, {"choices": {"hair": 10**9}}), "its codes are not"),
    "two million points": (lambda f: with_config(f, points=2_000_000, components=64), "expected"),
    "another rig's expressions": (lambda f: with_config(f, expressions=1024), "expected"),
    "a rig elsewhere": (lambda f: with_config(f, rig="../../etc/passwd"), "a rig's name is"),
    "half precision": (lambda f: with_tensor(f, "offsets", lambda t: t.half()), "tensor offsets is F16"),
    "not a number": (lambda f: with_tensor(f, "albedo", put((7, 1), float("nan"))), "albedo .* not finite"),
    "a triangle that no rig has": (lambda f: with_tensor(f, "triangles", put(3, 10**7)), "triangles"),
    "a triangle that this rig has not": (lambda f: with_tensor(f, "triangles", put(3, 12_290)), "12290 triangles"),
    "a group that is not there": (lambda f: with_tensor(f, "groups", put(3, 1)), "groups"),
    "cut off": (lambda f: f | {POINTS: f[POINTS][:-100]}, "bytes"),
    "a longer tail": (lambda f: f | {POINTS: f[POINTS] + bytes(64)}, "bytes"),
    "a header that lies about its length": (lambda f: f | {POINTS: (1 << 40).to_bytes(8, "little") + b"{}"}, "header"),
    "a header of brackets": (lambda f: f | {POINTS: (900_000).to_bytes(8, "little") + b"[" * 900_000}, "header"),
    "a header that claims terabytes": (
        lambda f: with_header(f, lambda h: h["offsets"].update(shape=[10**12, 3], data_offsets=[0, 12 * 10**12])),
        "tensor offsets",
    ),
    "tensors that overlap": (
        lambda f: with_header(f, lambda h: h["offsets"].update(data_offsets=h["albedo"]["data_offsets"])),
        "broken",
    ),
    "a pickle": (lambda f: f | {POINTS: b"\x80\x04\x95" + bytes(100)}, "header"),
    "an endless config": (lambda f: f | {CONFIG: b'{"rig": "' + b"x" * (5 << 20) + b'"}'}, "config.json"),
}


def parquet(table: pa.Table, **settings: Any) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", **settings)
    return bytes(sink.getvalue())


def track_table(frames: int = 4) -> pa.Table:
    return _table(make_track(frames), None, slice(0, frames))


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """The table with other values in a column, whatever their type."""
    changed = table.set_column(table.schema.get_field_index(name), name, values)
    return changed.replace_schema_metadata(table.schema.metadata)


def with_pictures(*pictures: bytes, column: str = "image") -> bytes:
    table = track_table(len(pictures))
    values = pa.array([{"bytes": data, "path": None} for data in pictures], table.schema.field(column).type)
    return parquet(with_column(table, column, values), use_dictionary=False)


def png_of_size(width: int, height: int, content: bytes = b"") -> bytes:
    """A PNG whose header says that it has this size."""
    chunks = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(content)),
        (b"IEND", b""),
    )
    parts = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def dictionary_bomb() -> bytes:
    """A megabyte of text once, and four thousand rows that name it: four gigabytes as a column of text."""
    rows = 4000
    table = track_table(1)
    table = pa.concat_tables([table] * rows).combine_chunks()
    indices = pa.array(np.zeros(rows, np.int32))
    text = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * (1 << 20)]))
    honest = base64.b64encode(bytes(table.schema.serialize()))
    bomb = with_column(table, "error", text)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, bomb.schema, store_schema=False, use_dictionary=["error"]) as writer:
        writer.write_table(bomb)
        writer.add_key_value_metadata({**table.schema.metadata, b"ARROW:schema": honest})
    return bytes(sink.getvalue())


def lying_footer() -> bytes:
    """A picture that unpacks to 100 MB, where the footer says a megabyte."""
    data = with_pictures(PICTURE + bytes(100 << 20))
    column = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(2)
    assert column.path_in_schema == "image.bytes"
    said, lie = (varint(2 * size) for size in (column.total_uncompressed_size, 1 << 20))  # signed numbers are doubled
    assert data.count(said) == 1
    return data.replace(said, lie)


def varint(value: int) -> bytes:
    """A number as Parquet's footer has it, in four bytes."""
    return bytes((value >> 7 * place) & 127 | 128 * (place < 3) for place in range(4))


def long_lists() -> bytes:
    values = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(4 * 5000, np.float32)), 5000)
    return parquet(with_column(track_table(), "expression", values))


PICTURE = encode_png(np.zeros((16, 16, 3), np.uint8))
TABLES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a constant that unpacks to 100 MB": (lambda: with_pictures(PICTURE + bytes(100 << 20)), "unpacks to"),
    "a footer that lies": (lying_footer, "image.bytes unpacks to more than its footer says"),
    "a dictionary that unpacks to 4 GB": (dictionary_bomb, "take more memory"),
    "words that share their beginnings": (
        lambda: parquet(track_table(), use_dictionary=False, column_encoding={"error": "DELTA_BYTE_ARRAY"}),
        "column error is packed",
    ),
    "numbers in a dictionary": (lambda: parquet(track_table(), use_dictionary=["quality"]), "column quality is packed"),
    "too many rows": (lambda: parquet(pa.concat_tables([track_table(1)] * 5000)), "5000 rows"),
    "no rows": (lambda: parquet(track_table().slice(0, 0)), "0 rows"),
    "lists of five thousand": (long_lists, "expression has lists of 5000"),
    "text for numbers": (lambda: parquet(with_column(track_table(), "head", pa.array(["x"] * 4))), "column head"),
    "a missing column": (lambda: parquet(track_table().drop_columns("camera")), "column camera"),
    "empty places": (
        lambda: parquet(with_column(track_table(), "index", pa.nulls(4, pa.int32())), use_dictionary=False),
        "column index has empty places",
    ),
    "a swap's table": (lambda: parquet(swap_table(make_swap((0, 1)))), "is a table swap"),
    "not a table": (lambda: b"PAR1" + bytes(100) + b"PAR1", "cannot be read"),
    "a cut table": (lambda: parquet(track_table())[:-30], "cannot be read"),
    "a picture of 30,000 × 30,000": (lambda: with_pictures(png_of_size(30_000, 30_000)), "30000×30000"),
    "a picture too large for its bytes": (lambda: with_pictures(png_of_size(4000, 4000, bytes(9))), "4000×4000"),
    "a picture cut off": (lambda: with_pictures(PICTURE[:30]), "cannot be decoded"),
    "no picture": (lambda: with_pictures(b"GIF89a" + bytes(100)), "cannot be decoded"),
    "pictures of two sizes": (
        lambda: with_pictures(PICTURE, encode_png(np.zeros((8, 8, 3), np.uint8))),
        "not a square of 16 pixels",
    ),
    "a grey picture among colours": (lambda: with_pictures(encode_png(np.zeros((16, 16), np.uint8))), "1 × 8 bits"),
    "a deep matte": (lambda: with_pictures(encode_png(np.zeros((16, 16), np.uint16)), column="matte"), "16 bits"),
}

VIDEOS = {
    "m3u.mp4": (b"#EXTM3U\n#EXTINF:1,\nhttp://169.254.169.254/latest\n", "m3u playlist"),
    "concat.mp4": (b"ffconcat version 1.0\nfile '/etc/passwd'\n", "FFmpeg's concat"),
    "sdp.mov": (b"v=0\r\no=- 0 0 IN IP4 10.0.0.1\r\n", "session description"),
    "dash.mkv": (b"\xef\xbb\xbf<?xml version='1.0'?><MPD></MPD>", "XML"),
    "text.mp4": (b"this is a letter\n" * 99, "not a video"),
    "picture.mp4": (PICTURE, "not a video"),
    "empty.mp4": (b"", "empty"),
    "claim.mp4": (b"\0\0\0\x18ftypisom\0\0\2\0isommp41" + b"\xff\xff\xff\xffmoov" + b"\xff" * 64, "does not decode"),
}


def npz(path: Path, shape: tuple[int, ...], content: int, kind: str = "<f8") -> Path:
    """An .npz whose arrays say that they have this shape, each with so many zero bytes."""
    header = str({"descr": kind, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in ARRAYS:
            packed.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(content))
    return path


MODELS = {
    "says petabytes": ((10**8, 10**7), 0, "<f8", "has 0 bytes"),
    "says more numbers than there are": ((10**30, 2), 64, "<f8", "has 64 bytes"),
    "holds what it says": ((1 << 20, 3), 3 << 22, "<f4", "1048576 vertices"),
    "holds objects": ((4,), 32, "|O", "has 32 bytes"),
}


def peak_memory(*, anew: bool = False) -> int:
    """Most bytes that this process has had resident, from now on if `anew`; 0 where the system is not Linux and cannot say."""
    process = Path("/proc/self")
    if not process.exists():
        return 0
    if anew:
        (process / "clear_refs").write_text("5")
    return 1024 * int((process / "status").read_text().partition("VmHWM:")[2].split()[0])


def refused(read: Read, folder: Path, subject: str, wording: str) -> None:
    """Hold that reading raises an error that names the subject, costs little memory, and leaves the folder as it was."""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    gc.collect()
    resident = peak_memory(anew=True)
    tracemalloc.start()
    try:
        with pytest.raises(PegasusError, match=wording) as caught:
            read()
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
    assert peak_memory() - resident < MOST_BYTES
    assert subject in str(caught.value)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def library_of(folder: Path, kind: Kind, files: Mapping[str, bytes]) -> Library:
    library = Library(folder)
    library.commit(kind, KEY, dict(files), Provenance())
    return library


def test_what_nothing_is_wrong_with_is_read(tmp_path: Path, whole: dict[str, bytes]) -> None:
    library = library_of(tmp_path, Kind.AVATARS, whole)
    library.commit(Kind.TRACKS, KEY, {FRAMES: parquet(track_table(), use_dictionary=["status", "error"])}, Provenance())
    assert len(read_avatar(library, KEY)) == len(painted_avatar()) and read_fields(library, KEY) is not None
    assert len(read_track(library.location, KEY)) == 4


@pytest.mark.parametrize("fault", AVATARS)
def test_an_avatar_is_refused(tmp_path: Path, whole: dict[str, bytes], fault: str) -> None:
    spoil, wording = AVATARS[fault]
    library = library_of(tmp_path, Kind.AVATARS, spoil(dict(whole)))
    of_networks = "fields" in json.loads(whole[CONFIG]) and ("network" in fault or "codes" in fault)
    read = read_fields if of_networks else read_avatar
    refused(lambda: read(library, KEY), tmp_path, f"avatars/{KEY}", wording)


def test_a_generative_avatar_of_huge_blocks_is_refused(tmp_path: Path, whole: dict[str, bytes]) -> None:
    blocks = {name: {"points": 2_000_000, "sources": ["own"]} for name in ("identity", "hair", "nose")}
    files = with_config(whole, kind="generative", blocks=blocks, code_size=1024, performance=4096)
    library = library_of(tmp_path, Kind.MODELS, files)
    refused(lambda: read_generative(library, KEY), tmp_path, f"models/{KEY}", "missing or unknown")


@pytest.mark.parametrize("fault", TABLES)
def test_a_track_is_refused(tmp_path: Path, fault: str) -> None:
    make, wording = TABLES[fault]
    library = library_of(tmp_path, Kind.TRACKS, {FRAMES: make()})
    refused(lambda: load_track(library, KEY), tmp_path, f"tracks/{KEY}", wording)


@pytest.mark.parametrize("fault", ["attribute", "pictures", "rows"])
def test_a_swap_is_refused(tmp_path: Path, fault: str) -> None:
    swap = make_swap((0, 1))
    if fault == "attribute":
        data, wording = (
            parquet(with_column(swap_table(swap), "attribute", pa.array(["soul"] * 2)), use_dictionary=False),
            "soul",
        )
    elif fault == "pictures":
        larger = replace(swap, part_masks=np.zeros((2, 32, 32), np.uint8))
        data, wording = parquet(swap_table(larger), use_dictionary=False), "part_mask"
    else:
        data, wording = parquet(swap_table(swap).slice(0, 0)), "0 rows"
    library = library_of(tmp_path, Kind.SWAPS, {"part-0.parquet": data})
    refused(lambda: load_swap(library, KEY), tmp_path, f"swaps/{KEY}", wording)


def test_a_file_of_gigabytes_is_not_read(tmp_path: Path, whole: dict[str, bytes]) -> None:
    library = library_of(tmp_path, Kind.AVATARS, whole)
    manifest = json.loads((tmp_path / "avatars" / KEY / "manifest.json").read_text())
    entry = next(file for file in manifest["files"] if file["name"] == CONFIG)
    entry["size"] = 5 << 30
    (tmp_path / "avatars" / KEY / "manifest.json").write_text(json.dumps(manifest))
    with (tmp_path / "avatars" / KEY / entry["path"]).open("r+b") as stream:
        stream.truncate(5 << 30)  # takes no room on the disk
    refused(lambda: read_avatar(library, KEY), tmp_path, f"avatars/{KEY}", "may have")


@pytest.mark.parametrize("name", VIDEOS)
def test_a_video_is_refused(tmp_path: Path, name: str) -> None:
    content, wording = VIDEOS[name]
    (tmp_path / name).write_bytes(content)
    refused(lambda: open_video(tmp_path / name), tmp_path, name, wording)


@pytest.mark.parametrize("fault", MODELS)
def test_a_head_model_is_refused(tmp_path: Path, fault: str) -> None:
    shape, content, kind, wording = MODELS[fault]
    path = npz(tmp_path / "flame.npz", shape, content, kind)
    refused(lambda: FlameArrays.read(path), tmp_path, "flame.npz", wording)


def test_a_model_file_without_a_record_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PEGASUS_ASSET_MIRROR", str(tmp_path / "mirror"))
    name = "segformer-face-parsing/model.safetensors"
    (tmp_path / "mirror" / name).parent.mkdir(parents=True)
    (tmp_path / "mirror" / name).write_bytes(b"anything")
    refused(lambda: assets.path_of(name), tmp_path / "mirror", name, "no record")
    refused(lambda: assets.fetch([name]), tmp_path / "mirror", name, "nothing says what should be in")
