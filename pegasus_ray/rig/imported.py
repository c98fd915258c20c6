"""Stores imported rigs: a safetensors file for each in the user's cache folder, with exactly the tensors of a `Rig`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pegasus_ray.rig.cache import cache_folder, digest_of_tensors, written_whole
from pegasus_ray.rig.model import LandmarkEmbedding, Rig
from pegasus_ray.schemas.avatars import MAX_AXES
from pegasus_ray.schemas.errors import PegasusError, Reason

FORMAT: Final = "1"  # version of the file format; other versions are refused
RIG_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
NAME_LISTS: Final = ("shape_names", "expression_names", "joint_names")  # of a `Rig`, kept in the file's header
TENSORS: Final = {  # dtype and shape of each tensor; equal letters stand for equal sizes
    "template": ("F32", "V3"),
    "faces": ("I64", "F3"),
    "uvs": ("F32", "F32"),
    "shape_basis": ("F32", "KV3"),
    "expression_basis": ("F32", "EV3"),
    "pose_basis": ("F32", "QV3"),
    "skin_weights": ("F32", "VJ"),
    "joint_regressor": ("F32", "JV"),
    "tissue": ("I64", "F"),
    "parts": ("I64", "F"),
    "from_blendshapes": ("F32", "EB"),
    "landmarks.triangles": ("I64", "L"),
    "landmarks.barycentric": ("F32", "L3"),
    "landmarks.weights": ("F32", "L"),
}
OPTIONAL_TENSORS: Final = {"landmarks.drift": ("F32", "DL3")}  # as `TENSORS`; they may be missing
MOST: Final = {"V": 50_000, "F": 150_000, "K": MAX_AXES, "E": MAX_AXES, "J": 64}
"""The largest number of vertices, faces, shape axes, expressions and joints."""


def rig_file(name: str) -> Path:
    """Where the rig of that name is kept.

    Raises:
        PegasusError: BAD_REFERENCE for what cannot be a name.
    """
    if not RIG_NAME.fullmatch(name) or name == "open":
        message = "a rig's name is 1–32 of a–z, 0–9, - and _, and not 'open'"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
    return cache_folder() / "rigs" / f"{name}.safetensors"


def imported_names() -> list[str]:
    """The names of the rigs that were imported on this machine."""
    return sorted(path.stem for path in (cache_folder() / "rigs").glob("*.safetensors"))


def save_imported(rig: Rig) -> Path:
    """Keep a rig under its name, and return its file."""
    path = rig_file(rig.name)
    held = {name: _tensor_of(rig, name) for name in (*TENSORS, *OPTIONAL_TENSORS)}
    tensors = {name: tensor.contiguous() for name, tensor in held.items() if tensor is not None}
    header = {"format": FORMAT, "digest": digest_of_tensors(tensors)} | {
        name: json.dumps(list(getattr(rig, name))) for name in NAME_LISTS
    }
    with written_whole(path) as temporary:
        save_file(tensors, temporary, metadata=header)
    return path


def digest_of_imported(name: str) -> str:
    """The sha256 of an imported rig's arrays; raises as `load_imported` does."""
    with _open(name) as (header, _):
        return header["digest"]


def load_imported(name: str) -> Rig:
    """The imported rig of that name, in float32 on the CPU.

    Raises:
        PegasusError: BAD_REFERENCE where there is none; ASSET_CORRUPT where its file is damaged or of another format.
    """
    with _open(name) as (header, file):
        words = {name: tuple(_list_of_strings(header[name])) for name in NAME_LISTS}
        _check_shapes(file, words)
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        _check_contents(tensors, header)
    places = {name.partition(".")[2]: tensor for name, tensor in tensors.items() if name.startswith("landmarks.")}
    own = {name: tensor.clone() for name, tensor in tensors.items() if not name.startswith("landmarks.")}
    return Rig(
        name=name,
        landmarks=LandmarkEmbedding(**places),
        shape_names=words["shape_names"],
        expression_names=words["expression_names"],
        joint_names=words["joint_names"],
        **own,
    )


@contextmanager
def _open(name: str) -> Iterator[tuple[dict[str, str], Any]]:
    """The header and the open file of a rig. Whatever is wrong with them becomes an error that says to import it again."""
    path = rig_file(name)
    if not path.is_file():
        known = ", ".join(["open", *imported_names()])
        message = f"there is no rig of that name here ({known}); import it: pegasus rig import-flame FILE --name {name}"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
    try:
        with safe_open(path, framework="pt") as file:
            header, tensors = file.metadata() or {}, set(file.keys())
            if tensors - set(OPTIONAL_TENSORS) != set(TENSORS) or set(header) != {"format", "digest", *NAME_LISTS}:
                raise ValueError("its header names other things")
            yield header, file
    except (SafetensorError, OSError, ValueError) as error:
        message = f"this imported rig cannot be read ({error}); import it again: pegasus rig import-flame FILE"
        raise PegasusError(Reason.ASSET_CORRUPT, message, subject=str(path)) from error


def _tensor_of(rig: Rig, name: str) -> Tensor | None:
    owner, _, tail = name.rpartition(".")
    value: Tensor | None = getattr(rig.landmarks if owner else rig, tail)
    return value


def _list_of_strings(text: str) -> list[str]:
    names = json.loads(text)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("its names are no list of strings")
    return names


def _check_shapes(file: Any, words: dict[str, tuple[str, ...]]) -> None:
    """Raises ValueError unless the header gives types, shapes and lists of names that fit together and are of possible size."""
    sizes = {"3": 3, "2": 2, "B": 52, "L": 478}
    for name in file.keys():  # noqa: SIM118 - not a mapping
        found = file.get_slice(name)
        dtype, sides = (TENSORS | OPTIONAL_TENSORS)[name]
        shape = tuple(found.get_shape())
        expected = tuple(sizes.setdefault(side, given) for side, given in zip(sides, shape, strict=False))
        if found.get_dtype() != dtype or len(shape) != len(sides) or shape != expected:
            raise ValueError(f"{name} is {found.get_dtype()} {shape}")
    for name, side in zip(NAME_LISTS, "KEJ", strict=True):
        if len(words[name]) != sizes[side]:
            raise ValueError(f"{len(words[name])} {name}")
    for side, most in MOST.items():
        if not 0 < sizes[side] <= most:
            raise ValueError(f"a size of {sizes[side]}, where 1 to {most} is possible")


def _check_contents(tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    """Raises ValueError unless the digest is as it was written, and no index names what is not there."""
    if header["format"] != FORMAT or header["digest"] != digest_of_tensors(tensors):
        raise ValueError("its format or digest is another")
    vertices, faces = len(tensors["template"]), len(tensors["faces"])
    if tensors["faces"].min() < 0 or tensors["faces"].max() >= vertices:
        raise ValueError("its faces name vertices that are not there")
    if tensors["landmarks.triangles"].min() < 0 or tensors["landmarks.triangles"].max() >= faces:
        raise ValueError("its landmarks name faces that are not there")
