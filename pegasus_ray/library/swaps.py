"""Swapped frames in memory and as rows of a table; the round trip is exact.

Legend: T frames, S side in pixels, K shape axes, E expressions.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pegasus_ray.library.columns import (
    check_schema,
    image_bytes,
    image_column,
    list_array,
    list_column,
    parquet_bytes,
)
from pegasus_ray.library.images import decode_all
from pegasus_ray.library.library import Library
from pegasus_ray.library.performance import DRIVING, Floats, Performance
from pegasus_ray.library.track import Bytes
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.tables import IMAGE, OK, SCORES, SWAP_SCHEMA_VERSION, swap_schema

_PICTURES = {"image": "images", "part_mask": "part_masks", "object_mask": "object_masks"}  # column → field
_NORMALS = ("target_normals", "source_normals")
_LISTS = ("shape", *DRIVING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap(Performance):
    """Frames of the target with one attribute borrowed from one avatar; they move as the target's track does."""

    target: str  # key of the target's track
    avatar: str  # key of the avatar that lends the attribute
    attribute: Attribute
    indices: npt.NDArray[np.int32]  # (T,) the frame's number in the target's track
    images: Bytes  # (T, S, S, 3) RGB on white
    part_masks: Bytes  # (T, S, S) 0–255: the borrowed attribute
    object_masks: Bytes  # (T, S, S) 0–255: opacity of the whole person
    target_normals: Bytes | None = None  # (T, S, S, 3) `normals_to_rgb`, camera space, of the target's avatar
    source_normals: Bytes | None = None  # (T, S, S, 3) of the lending avatar
    shape: Floats  # (T, K) the shape that the frame shows
    scores: Mapping[str, Floats]  # (T,) for each of `SCORES`; NaN where it was not measured

    def __len__(self) -> int:
        return len(self.indices)


def swap_table(swap: Swap) -> pa.Table:
    """A row a frame."""
    schema = swap_schema(shape=swap.shape.shape[1], expression=swap.expression.shape[1])
    count = len(swap)
    columns: dict[str, pa.Array] = {
        **{name: image_column(getattr(swap, attribute)) for name, attribute in _PICTURES.items()},
        **{name: _optional_images(getattr(swap, name), count) for name in _NORMALS},
        **{name: list_column(getattr(swap, name)) for name in _LISTS},
        "scores": pa.StructArray.from_arrays(
            [pa.array(swap.scores[name], pa.float32(), from_pandas=True) for name in SCORES], names=list(SCORES)
        ),
        "target": pa.array([swap.target] * count, pa.string()),
        "avatar": pa.array([swap.avatar] * count, pa.string()),
        "attribute": pa.array([swap.attribute.value] * count, pa.string()),
        "index": pa.array(swap.indices, pa.int32()),
        "status": pa.array([OK] * count, pa.string()),
        "error": pa.array([""] * count, pa.string()),
    }
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def swap_of_table(table: pa.Table) -> Swap:
    """The frames of a table, in its order.

    Raises:
        PegasusError: TOO_FEW_FRAMES if there is none.
    """
    good = table.filter(pc.equal(table["status"], OK))
    if len(good) == 0:
        raise PegasusError(Reason.TOO_FEW_FRAMES, "this swap has no frames; leave it out of the plan")
    pictures: dict[str, Any] = {name: decode_all(image_bytes(good, column)) for column, name in _PICTURES.items()}
    normals: dict[str, Any] = {
        name: None if good[name].null_count else decode_all(image_bytes(good, name)) for name in _NORMALS
    }
    lists: dict[str, Any] = {name: list_array(good, name) for name in _LISTS}
    return Swap(
        target=good["target"][0].as_py(),
        avatar=good["avatar"][0].as_py(),
        attribute=Attribute(good["attribute"][0].as_py()),
        indices=good["index"].to_numpy().copy(),
        scores={name: np.array(pc.struct_field(good["scores"], name), np.float32) for name in SCORES},
        **pictures,
        **normals,
        **lists,
    )


def swap_bytes(swap: Swap) -> bytes:
    """A shard's file: equal frames give equal bytes."""
    return parquet_bytes(swap_table(swap))


def load_swap(library: Library, key: str, *, frames: Collection[int] | None = None) -> Swap:
    """Read a swap that is complete.

    Args:
        library: where it is.
        key: of the swap.
        frames: numbers in the target's track to take; all by default. The others' pictures are not decoded.

    Raises:
        PegasusError: BAD_REFERENCE if it is not there, CORRUPT if its content has changed, TOO_FEW_FRAMES if none is
            left.
    """
    manifest = library.expect(Kind.SWAPS, key)
    tables = []
    for file in manifest.files:
        table = pq.read_table(io.BytesIO(library.read_entry(manifest, file.name)))
        check_schema(table, "swap", SWAP_SCHEMA_VERSION, f"{Kind.SWAPS}/{key}")
        if frames is not None:
            table = table.filter(pc.is_in(table["index"], pa.array(sorted(frames), pa.int32())))
        tables.append(table)
    return swap_of_table(pa.concat_tables(tables).sort_by("index"))


def _optional_images(pictures: Bytes | None, count: int) -> pa.Array:
    return pa.nulls(count, IMAGE) if pictures is None else image_column(pictures)
