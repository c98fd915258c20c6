"""A licensed FLAME model as a rig.

The file is the user's own (Max Planck's licence: most versions for non-commercial research only, FLAME 2023 Open under
CC BY 4.0); nothing of it is shipped. FLAME's root becomes the rig's torso, and its neck joint carries the head. Head and torso
each have a pose of their own, and FLAME's rotation of the neck is that of the head relative to the torso.

The tracker fits expressions and leaves the joints of jaw and eyes at rest. So that it can open the jaw and turn the eyes, the rig
gets an expression for each such motion: the displacement of the vertices when the joint is turned by a full amount, pose
correctives included. It is exact at 0 and 1 and a straight line between (1.5 mm off at the chin at worst). The jaw is thus
opened either by its expression or by its joint, never by both.

Legend: V vertices, F faces, K = 300 shape axes, E expressions, J = 5 joints.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pegasus_ray.rig.model import (
    NUMBERED_PREFIX,
    LandmarkEmbedding,
    Pose,
    Rig,
    Tissue,
    pose_features,
    rodrigues,
)
from pegasus_ray.rig.unpickle import MAX_FILE_BYTES, read_pickled_arrays
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Part

Array = npt.NDArray[Any]

ARRAYS: Final = ("v_template", "f", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table")
"""Names of the arrays that are read from a FLAME file."""
SHAPE_AXES: Final = 300  # first columns of FLAME's `shapedirs`
EXPRESSION_AXES: Final = 100  # its other columns
JOINTS: Final = ("root", "head", "jaw", "eye.L", "eye.R")
"""The rig's names of FLAME's joints, in FLAME's order; FLAME calls the second one the neck."""
PARENTS: Final = (0, 1, 1, 1)  # number of the parent of each joint after the root
NPY_HEADERS: Final = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
"""What reads the header of an array in an .npz, by the version of its format."""
MAX_VERTICES: Final = 50_000  # of a model that is accepted; FLAME has 5,023

TURNED_BONES: Final[dict[str, tuple[str, tuple[float, float, float]]]] = {
    "jawOpen": ("jaw", (0.4, 0.0, 0.0)),
    "jawLeft": ("jaw", (0.0, 0.15, 0.0)),
    "jawRight": ("jaw", (0.0, -0.15, 0.0)),
    "eyeLookDownLeft": ("eye.L", (0.5, 0.0, 0.0)),
    "eyeLookDownRight": ("eye.R", (0.5, 0.0, 0.0)),
    "eyeLookInLeft": ("eye.L", (0.0, -0.5, 0.0)),
    "eyeLookInRight": ("eye.R", (0.0, 0.5, 0.0)),
    "eyeLookOutLeft": ("eye.L", (0.0, 0.5, 0.0)),
    "eyeLookOutRight": ("eye.R", (0.0, -0.5, 0.0)),
    "eyeLookUpLeft": ("eye.L", (-0.5, 0.0, 0.0)),
    "eyeLookUpRight": ("eye.R", (-0.5, 0.0, 0.0)),
}
"""Expressions that stand for a turned joint: which joint, and its rotation vector at 1.

In radians about x (the person's left), y (up) and z."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlameArrays:
    """The arrays of a FLAME model's file, checked."""

    template: Array  # (V, 3) metres
    faces: Array  # (F, 3)
    directions: Array  # (V, 3, 400): 300 of shape, 100 of expression
    pose_directions: Array  # (V, 3, 36)
    regressor: Array  # (J, V)
    weights: Array  # (V, J)

    @staticmethod
    def read(path: Path) -> FlameArrays:
        """Read a generic_model.pkl, or an .npz of the same arrays.

        Raises:
            PegasusError: NOT_FOUND; CORRUPT where the file holds anything but plain arrays (nothing in a pickle is executed, see
                `unpickle`), or its arrays are not those of a FLAME model.
        """
        arrays = _read_npz(path) if path.suffix == ".npz" else read_pickled_arrays(path, ARRAYS)
        try:
            return FlameArrays._checked(arrays)
        except ValueError as error:
            raise PegasusError(Reason.CORRUPT, f"no FLAME model: {error}", subject=str(path)) from error

    @staticmethod
    def _checked(arrays: dict[str, Array]) -> FlameArrays:
        _check_shapes({name: array.shape for name, array in arrays.items()})
        for name in ARRAYS:
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} is not finite")
        if arrays["f"].min() < 0 or arrays["f"].max() >= len(arrays["v_template"]):
            raise ValueError("f names vertices that are not there")
        if tuple(arrays["kintree_table"][0, 1:]) != PARENTS:
            raise ValueError("kintree_table is not root, neck, jaw and eyes")
        for name in ("weights", "J_regressor"):
            if not np.allclose(arrays[name].sum(1), 1, atol=1e-3):
                raise ValueError(f"{name} does not sum to 1")
        return FlameArrays(
            template=arrays["v_template"],
            faces=arrays["f"],
            directions=arrays["shapedirs"],
            pose_directions=arrays["posedirs"],
            regressor=arrays["J_regressor"],
            weights=arrays["weights"],
        )


def _check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError unless the shapes are those of a FLAME model's arrays."""
    vertices, faces = (shapes[name][0] if shapes[name] else 0 for name in ("v_template", "f"))
    expected = {
        "v_template": (vertices, 3),
        "f": (faces, 3),
        "shapedirs": (vertices, 3, SHAPE_AXES + EXPRESSION_AXES),
        "posedirs": (vertices, 3, 9 * len(PARENTS)),
        "J_regressor": (len(JOINTS), vertices),
        "weights": (vertices, len(JOINTS)),
        "kintree_table": (2, len(JOINTS)),
    }
    if not 0 < vertices <= MAX_VERTICES or not 0 < faces <= 3 * MAX_VERTICES:
        raise ValueError(f"{vertices} vertices and {faces} faces")
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ValueError(f"{name} is {shapes[name]}, where {shape} is wanted")


def _read_npz(path: Path) -> dict[str, Array]:
    if not path.is_file():
        raise PegasusError(Reason.NOT_FOUND, "there is no such file", subject=str(path))
    try:
        with zipfile.ZipFile(path) as packed:
            if sum(member.file_size for member in packed.infolist()) > MAX_FILE_BYTES:
                raise ValueError("larger than any head model once unpacked")
            # The headers first: they cost nothing to read, and memory is taken only for shapes that are possible.
            _check_shapes({name: _read_npy_header(packed, name)[0] for name in ARRAYS})
            return {name: _read_npy(packed, name) for name in ARRAYS}
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, OSError, EOFError, NotImplementedError) as error:
        raise PegasusError(Reason.CORRUPT, f"not an .npz of a FLAME model: {error}", subject=str(path)) from error


def _read_npy_header(packed: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, column order, type and first byte of an array of an .npz. Raises ValueError unless its bytes are as many."""
    with packed.open(f"{name}.npy") as stream:
        version = np.lib.format.read_magic(stream)
        if version not in NPY_HEADERS:
            raise ValueError(f"{name} is of version {version}")
        shape, by_columns, dtype = NPY_HEADERS[version](stream)
        start = stream.tell()
    size = packed.getinfo(f"{name}.npy").file_size - start
    if dtype.kind not in "fiu" or math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{name} says that it is {dtype} {shape}, and has {size} bytes")
    return shape, by_columns, dtype, start


def _read_npy(packed: zipfile.ZipFile, name: str) -> Array:
    """An array of an .npz, as `np.load` gives it. Raises ValueError where it is cut off."""
    shape, by_columns, dtype, start = _read_npy_header(packed, name)
    with packed.open(f"{name}.npy") as stream:
        stream.read(start)
        content = bytearray(stream.read(math.prod(shape) * dtype.itemsize))
    return np.frombuffer(content, dtype).reshape(shape, order="F" if by_columns else "C")


def flame_rig(arrays: FlameArrays, name: str) -> Rig:
    """A FLAME model as a rig whose faces are all labelled skin; `annotate` adds labels, textures, landmarks and blendshapes.

    The origin is moved midway between the eyes. FLAME is in metres, y up and facing +z already.
    """
    regressor, still = _float(arrays.regressor), _float(arrays.template)
    template = still - (regressor @ still)[-2:].mean(0)
    directions = _float(arrays.directions.transpose(2, 0, 1))
    faces = torch.from_numpy(arrays.faces.astype(np.int64))
    bare = Rig(
        name=name,
        template=template,
        faces=faces,
        uvs=torch.zeros(len(faces), 3, 2),
        shape_basis=directions[:SHAPE_AXES].contiguous(),
        expression_basis=directions[SHAPE_AXES:].contiguous(),
        pose_basis=_float(arrays.pose_directions.transpose(2, 0, 1)),
        skin_weights=_float(arrays.weights),
        joint_regressor=regressor,
        tissue=torch.full((len(faces),), int(Tissue.SKIN)),
        parts=torch.full((len(faces),), int(Part.SKIN)),
        shape_names=tuple(f"shape/{number:03}" for number in range(SHAPE_AXES)),
        expression_names=tuple(f"{NUMBERED_PREFIX}{number:03}" for number in range(EXPRESSION_AXES)),
        joint_names=JOINTS,
        from_blendshapes=torch.zeros(EXPRESSION_AXES, 52),
        landmarks=LandmarkEmbedding.unknown(),
    )
    return with_turned_bones(bare)


def _float(values: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def with_turned_bones(rig: Rig) -> Rig:
    """The rig with an expression added for each of `TURNED_BONES`."""
    turned = torch.stack(
        [_displacement_by_bone(rig, joint, torch.tensor(angle)) for joint, angle in TURNED_BONES.values()]
    )
    return replace(
        rig,
        expression_basis=torch.cat([rig.expression_basis, turned]),
        expression_names=(*rig.expression_names, *TURNED_BONES),
        from_blendshapes=torch.cat([rig.from_blendshapes, rig.from_blendshapes.new_zeros(len(TURNED_BONES), 52)]),
    )


def _displacement_by_bone(rig: Rig, joint: str, angle: Tensor) -> Tensor:
    """How turning a joint by a rotation vector (3,) in radians moves the template, (V, 3) metres."""
    still = torch.zeros(1, 6)
    angles = {name: torch.zeros(1, 3) for name in ("jaw", "eye.L", "eye.R")} | {joint: angle[None]}
    pose = Pose(head=still, torso=still, jaw=angles["jaw"], eyes=torch.cat([angles["eye.L"], angles["eye.R"]], 1))
    pivot = (rig.joint_regressor @ rig.template)[rig.joint_names.index(joint)]
    corrected = rig.template + torch.einsum("q,qvc->vc", pose_features(rig, pose)[0], rig.pose_basis)
    about = corrected - pivot
    moved = about @ rodrigues(angle).T - about
    return corrected + rig.skin_weights[:, rig.joint_names.index(joint), None] * moved - rig.template
