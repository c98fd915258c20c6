"""Arrow schemas of the tables in a library, versioned: the frames of a track and the rows of a swap.

Each row is a frame. A picture is PNG bytes in `struct<bytes, path>`, which dataset viewers show as an image. Rig parameters
and the camera are lists of fixed length, as the rig requires.

Legend: K shape axes, E expressions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow as pa

TRACK_SCHEMA_VERSION = 1
SWAP_SCHEMA_VERSION = 2
"""Versions of the tables' columns; readers refuse any other."""

LANDMARK_COORDINATES = 478 * 2
"""Numbers in a row's landmarks: x and y of each."""
SCORES = ("coverage", "seam", "agreement", "identity", "quality")
"""Scores of a swapped frame, 0–1, higher is better.

`coverage` is the share of the wanted part that the render covers; `seam` is high where the part's border shows little;
`agreement` is the overlap (intersection over union) with the part that a face parser finds; `identity` is the similarity to
the unchanged person by a face recognition network; `quality` sums them up. `agreement` and `identity` are null where no such
network was available."""

OK = "ok"
"""`status` of a row whose frame can be used."""

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})  # the type of picture columns


def floats(length: int) -> pa.DataType:
    """A list of exactly `length` 32-bit floats."""
    return pa.list_(pa.float32(), length)


def track_schema(
    *, shape: int, expression: int, blendshapes: int, source: str, rig: str, identity: int = 0
) -> pa.Schema:
    """One row a frame of a track.

    Args:
        shape: K, the rig's number of shape axes.
        expression: E, the rig's number of expressions.
        blendshapes: number of scores of the landmark model.
        source: name of the video.
        rig: name of the rig that the parameters belong to.
        identity: length of the vector that says whose face it is; 0 leaves the column out.
    """
    columns = {
        "index": pa.int32(),  # the frame's number in the video
        "time": pa.float32(),  # seconds
        "image": IMAGE,  # RGB
        "matte": IMAGE,  # 8-bit opacity
        "parts": IMAGE,  # 8-bit `Label`
        "landmarks": floats(LANDMARK_COORDINATES),  # x, y, x, y, … in sides of the crop
        "blendshapes": floats(blendshapes),
        "shape": floats(shape),  # the same in every row
        "expression": floats(expression),
        **_pose_columns(),
        "quality": pa.float32(),
        **({"identity": floats(identity)} if identity else {}),  # the same in every row
        "depth": IMAGE,  # 16-bit, 0.1 mm, 0 = nothing; only where the truth is known
        "normals": IMAGE,  # RGB, camera space; only where the truth is known
        "status": pa.string(),
        "error": pa.string(),
    }
    facts = {"schema": "track", "schema_version": str(TRACK_SCHEMA_VERSION), "source": source, "rig": rig}
    return _schema(columns, facts)


def swap_schema(*, shape: int, expression: int) -> pa.Schema:
    """One row a swapped frame; see `track_schema` for the arguments."""
    columns = {
        "target": pa.string(),  # key of the target's track
        "avatar": pa.string(),  # key of the avatar that lends the attribute
        "attribute": pa.string(),
        "index": pa.int32(),  # the frame's number in the target's track
        "image": IMAGE,  # RGB, on white
        "part_mask": IMAGE,  # 8-bit, the borrowed attribute
        "object_mask": IMAGE,  # 8-bit opacity of the whole person
        "target_normals": IMAGE,  # RGB, camera space, of the target's avatar
        "source_normals": IMAGE,  # RGB, camera space, of the lending avatar
        "shape": floats(shape),  # the shape that the frame shows
        "expression": floats(expression),
        **_pose_columns(),
        "scores": pa.struct({name: pa.float32() for name in SCORES}),
        "status": pa.string(),
        "error": pa.string(),
    }
    return _schema(columns, {"schema": "swap", "schema_version": str(SWAP_SCHEMA_VERSION)})


def _pose_columns() -> dict[str, pa.DataType]:
    return {"head": floats(6), "torso": floats(6), "jaw": floats(3), "eyes": floats(6), "camera": floats(3)}


def _schema(columns: Mapping[str, pa.DataType], facts: Mapping[str, str]) -> pa.Schema:
    """An Arrow schema whose metadata holds the facts, and a hint by which `datasets` decodes the pictures."""
    pictures = {name: {"_type": "Image"} for name, kind in columns.items() if kind == IMAGE}
    hint = json.dumps({"info": {"features": pictures}}, sort_keys=True)
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()], metadata={**facts, "huggingface": hint})
