"""Tracks as tables: `frames-00000.parquet`, … with a row a frame; the round trip is exact.

Legend: T frames, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pegasus_ray.library.columns import decode_columns, image_column, list_array, list_column, parquet_bytes
from pegasus_ray.library.images import DEPTH, GREY, RGB, depth_to_steps, steps_to_depth
from pegasus_ray.library.library import Library
from pegasus_ray.library.parquet import check_complete, join_tables, list_length, read_table
from pegasus_ray.library.payloads import read_payload
from pegasus_ray.library.performance import DRIVING, Floats
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest, Provenance
from pegasus_ray.schemas.tables import IMAGE, OK, TRACK_SCHEMA_VERSION, track_schema

FRAMES_PER_FILE = 256
"""Frames of a track in one Parquet file, at most."""

_PICTURES = {"image": "images", "matte": "mattes", "parts": "parts"}  # column → field
_FORMS = {"image": RGB, "matte": GREY, "parts": GREY}
_LISTS = ("landmarks", "blendshapes", *DRIVING)
_NUMBERS = {"index": "indices", "time": "times", "quality": "quality"}  # column → field


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """Exact depth and normals, which only rendered videos have."""

    depth: Floats  # (T, S, S) metres, 0 where nothing is there; stored to 0.1 mm
    normals: Bytes  # (T, S, S, 3) `normals_to_rgb` in camera space


def save_track(
    library: Library, key: str, track: Track, provenance: Provenance, *, truth: Truth | None = None
) -> Manifest:
    """Commit a track. `source` and `rig` of the provenance are taken from the track, and the number of its frames is noted.

    Raises:
        PegasusError: as `Library.commit`.
    """
    starts = range(0, len(track), FRAMES_PER_FILE)
    files = {
        f"frames-{number:05d}.parquet": parquet_bytes(_table(track, truth, slice(start, start + FRAMES_PER_FILE)))
        for number, start in enumerate(starts)
    }
    summary = {**provenance.summary, "frames": len(track)}
    named = provenance.model_copy(
        update={"source": provenance.source or track.source, "rig": track.rig, "summary": summary}
    )
    return library.commit(Kind.TRACKS, key, files, named)


def load_track(library: Library, key: str) -> Track:
    """Read a track.

    Raises:
        PegasusError: BAD_REFERENCE if it is not there, CORRUPT if its content has changed or is not a track's.
    """
    table, subject = _read(library, key), f"{Kind.TRACKS}/{key}"
    check_complete(table, subject, optional=("depth", "normals"))
    facts = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    decoded = decode_columns(table, _FORMS, subject)
    pictures: dict[str, Any] = {field: decoded[name] for name, field in _PICTURES.items()}
    lists: dict[str, Any] = {name: list_array(table, name) for name in _LISTS}
    lists["landmarks"] = lists["landmarks"].reshape(len(table), -1, 2)
    numbers: dict[str, Any] = {field: table[name].to_numpy().copy() for name, field in _NUMBERS.items()}
    shape = list_array(table.slice(0, 1), "shape")[0]
    whose = {"identity": list_array(table.slice(0, 1), "identity")[0]} if "identity" in table.schema.names else {}
    return Track(source=facts["source"], rig=facts["rig"], shape=shape, **whose, **pictures, **lists, **numbers)


def track_length(library: Library, key: str) -> int:
    """How many frames a track has, by its manifest alone.

    Raises:
        PegasusError: BAD_REFERENCE if it is not there, CORRUPT if its manifest does not say.
    """
    length = library.expect(Kind.TRACKS, key).summary.get("frames")
    if not isinstance(length, int):
        message = "its manifest does not say how many frames it has; track the video again"
        raise PegasusError(Reason.CORRUPT, message, subject=f"{Kind.TRACKS}/{key}")
    return length


def load_truth(library: Library, key: str) -> Truth | None:
    """The exact depth and normals of a track's frames; None for a track without them."""
    table = _read(library, key, columns=["depth", "normals"])
    if table["depth"].null_count:
        return None
    decoded = decode_columns(table, {"depth": DEPTH, "normals": RGB}, f"{Kind.TRACKS}/{key}")
    return Truth(depth=steps_to_depth(decoded["depth"]), normals=decoded["normals"])


def _table(track: Track, truth: Truth | None, frames: slice) -> pa.Table:
    part = track.select(frames)
    count = len(part)
    schema = track_schema(
        shape=part.shape.shape[0],
        expression=part.expression.shape[1],
        blendshapes=part.blendshapes.shape[1],
        source=track.source,
        rig=track.rig,
        identity=len(part.identity),
    )
    nothing = pa.nulls(count, IMAGE)
    columns: dict[str, pa.Array] = {
        **{name: image_column(getattr(part, field)) for name, field in _PICTURES.items()},
        **{name: list_column(getattr(part, name)) for name in _LISTS},
        **{name: pa.array(getattr(part, field)) for name, field in _NUMBERS.items()},
        **_repeated_column("shape", part.shape, count),
        **(_repeated_column("identity", part.identity, count) if len(part.identity) else {}),
        "depth": nothing if truth is None else image_column(depth_to_steps(truth.depth[frames])),
        "normals": nothing if truth is None else image_column(truth.normals[frames]),
        "status": pa.array([OK] * count),
        "error": pa.array([""] * count),
    }
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _repeated_column(name: str, values: Floats, count: int) -> dict[str, pa.Array]:
    """A column with the same list in each row."""
    return {name: list_column(np.broadcast_to(values, (count, *values.shape)))}


def _read(library: Library, key: str, columns: Collection[str] = ()) -> pa.Table:
    manifest = library.expect(Kind.TRACKS, key)
    subject = f"{Kind.TRACKS}/{key}"
    tables = [
        read_track_table(read_payload(library, manifest, file.name), f"{subject}/{file.path}", columns)
        for file in manifest.files
    ]
    return join_tables(tables, subject)


def read_track_table(data: bytes, subject: str, columns: Collection[str] = ()) -> pa.Table:
    """The table of one of a track's files, with all columns by default; raises as `read_table`."""
    return read_table(
        data, kind="track", version=TRACK_SCHEMA_VERSION, wanted=_wanted_schema, subject=subject, columns=columns
    )


def _wanted_schema(found: pa.Schema) -> pa.Schema:
    """The schema of a track whose lists are as long as those that were found. Raises ValueError where one is missing."""
    facts = found.metadata or {}
    if b"source" not in facts or b"rig" not in facts:
        raise ValueError("it names no source or no rig")
    return track_schema(
        shape=list_length(found, "shape"),
        expression=list_length(found, "expression"),
        blendshapes=list_length(found, "blendshapes"),
        source=facts[b"source"].decode(),
        rig=facts[b"rig"].decode(),
        identity=list_length(found, "identity") if "identity" in found.names else 0,
    )
