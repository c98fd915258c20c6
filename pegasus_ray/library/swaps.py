"""Swapped frames in memory and as rows of a table; the round trip is exact.

Legend: T frames, S side in pixels, K shape axes, E expressions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pegasus_ray.library.columns import decode_columns, image_column, list_array, list_column, parquet_bytes
from pegasus_ray.library.images import GREY, RGB
from pegasus_ray.library.library import Library
from pegasus_ray.library.parquet import WAY_OUT, check_complete, join_tables, list_length, read_table
from pegasus_ray.library.payloads import read_payload
from pegasus_ray.library.performance import DRIVING, Floats, Performance
from pegasus_ray.library.track import Bytes
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.tables import IMAGE, OK, SCORES, SWAP_SCHEMA_VERSION, swap_schema

_PICTURES = {"image": "images", "part_mask": "part_masks", "object_mask": "object_masks"}  # column → field
_FORMS = {"image": RGB, "part_mask": GREY, "object_mask": GREY}
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


def swap_of_table(table: pa.Table, subject: str = "") -> Swap:
    """The frames of a table, in its order.

    Raises:
        PegasusError: TOO_FEW_FRAMES if there is none, CORRUPT where they are not a swap's.
    """
    good = table.filter(pc.equal(table["status"], OK))
    if len(good) == 0:
        raise PegasusError(Reason.TOO_FEW_FRAMES, "this swap has no frames; leave it out of the plan")
    check_complete(good, subject, optional=_NORMALS)
    known = [name for name in _NORMALS if not good[name].null_count]
    decoded = decode_columns(good, _FORMS | dict.fromkeys(known, RGB), subject)
    pictures: dict[str, Any] = {name: decoded[column] for column, name in _PICTURES.items()}
    normals: dict[str, Any] = {name: decoded.get(name) for name in _NORMALS}
    lists: dict[str, Any] = {name: list_array(good, name) for name in _LISTS}
    return Swap(
        target=good["target"][0].as_py(),
        avatar=good["avatar"][0].as_py(),
        attribute=_attribute_of(good, subject),
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
    manifest, subject = library.expect(Kind.SWAPS, key), f"{Kind.SWAPS}/{key}"
    tables = []
    for file in manifest.files:
        table = read_swap_table(read_payload(library, manifest, file.name), f"{subject}/{file.path}")
        if frames is not None:
            table = table.filter(pc.is_in(table["index"], pa.array(sorted(frames), pa.int32())))
        tables.append(table)
    return swap_of_table(join_tables(tables, subject).sort_by("index"), subject)


def read_swap_table(data: bytes, subject: str, columns: Collection[str] = ()) -> pa.Table:
    """The table of a shard's file, with all columns by default; raises as `read_table`."""
    return read_table(
        data, kind="swap", version=SWAP_SCHEMA_VERSION, wanted=_wanted_schema, subject=subject, columns=columns
    )


def _wanted_schema(found: pa.Schema) -> pa.Schema:
    """The schema of a swap whose lists are as long as those that were found. Raises ValueError where one is missing."""
    return swap_schema(shape=list_length(found, "shape"), expression=list_length(found, "expression"))


def _attribute_of(table: pa.Table, subject: str) -> Attribute:
    name = table["attribute"][0].as_py()
    if name not in tuple(Attribute):
        raise PegasusError(Reason.CORRUPT, f"its attribute is {str(name)[:64]!r}; {WAY_OUT}", subject=subject)
    return Attribute(name)


def _optional_images(pictures: Bytes | None, count: int) -> pa.Array:
    return pa.nulls(count, IMAGE) if pictures is None else image_column(pictures)
