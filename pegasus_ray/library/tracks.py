"""Tracks as tables: `frames-00000.parquet`, … with a row a frame; the round trip is exact.

Legend: T frames, S side in pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pegasus_ray.library.columns import check_schema, image_bytes, image_column, list_array, list_column, parquet_bytes
from pegasus_ray.library.images import decode_all, depth_to_steps, steps_to_depth
from pegasus_ray.library.library import Library
from pegasus_ray.library.performance import DRIVING, Floats
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.schemas.manifests import Kind, Manifest, Provenance
from pegasus_ray.schemas.tables import IMAGE, OK, TRACK_SCHEMA_VERSION, track_schema

FRAMES_PER_FILE = 256
"""Frames of a track in one Parquet file, at most."""

_PICTURES = {"image": "images", "matte": "mattes", "parts": "parts"}  # column → field
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
    """Commit a track. `source` and `rig` of the provenance are taken from the track.

    Raises:
        PegasusError: as `Library.commit`.
    """
    starts = range(0, len(track), FRAMES_PER_FILE)
    files = {
        f"frames-{number:05d}.parquet": parquet_bytes(_table(track, truth, slice(start, start + FRAMES_PER_FILE)))
        for number, start in enumerate(starts)
    }
    named = provenance.model_copy(update={"source": provenance.source or track.source, "rig": track.rig})
    return library.commit(Kind.TRACKS, key, files, named)


def load_track(library: Library, key: str) -> Track:
    """Read a track.

    Raises:
        PegasusError: BAD_REFERENCE if it is not there, CORRUPT if its content has changed.
    """
    table = _read(library, key)
    facts = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    pictures: dict[str, Any] = {field: decode_all(image_bytes(table, name)) for name, field in _PICTURES.items()}
    lists: dict[str, Any] = {name: list_array(table, name) for name in _LISTS}
    lists["landmarks"] = lists["landmarks"].reshape(len(table), -1, 2)
    numbers: dict[str, Any] = {field: table[name].to_numpy().copy() for name, field in _NUMBERS.items()}
    shape = list_array(table.slice(0, 1), "shape")[0]
    whose = {"identity": list_array(table.slice(0, 1), "identity")[0]} if "identity" in table.schema.names else {}
    return Track(source=facts["source"], rig=facts["rig"], shape=shape, **whose, **pictures, **lists, **numbers)


def load_truth(library: Library, key: str) -> Truth | None:
    """The exact depth and normals of a track's frames; None for a track without them."""
    table = _read(library, key, columns=["depth", "normals"])
    if table["depth"].null_count:
        return None
    steps: Any = decode_all(image_bytes(table, "depth"))
    normals: Any = decode_all(image_bytes(table, "normals"))
    return Truth(depth=steps_to_depth(steps), normals=normals)


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


def _read(library: Library, key: str, columns: Sequence[str] | None = None) -> pa.Table:
    manifest = library.expect(Kind.TRACKS, key)
    tables = []
    for file in manifest.files:
        table = pq.read_table(io.BytesIO(library.read_entry(manifest, file.name)), columns=columns)
        check_schema(table, "track", TRACK_SCHEMA_VERSION, f"{Kind.TRACKS}/{key}")
        tables.append(table)
    return pa.concat_tables(tables)
