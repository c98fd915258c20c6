"""A licensed head model becomes a rig of this machine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pegasus_ray.perception.embedding import measure_embedding
from pegasus_ray.perception.nets.landmarks import FaceMesh
from pegasus_ray.rig.annotate import annotate
from pegasus_ray.rig.cache import cache_folder
from pegasus_ray.rig.embedding import load_embedding, save_embedding
from pegasus_ray.rig.flame import FlameArrays, flame_rig
from pegasus_ray.rig.imported import rig_file, save_imported
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.progress import Progress

ENOUGH = 200
"""Landmarks that a measurement must find to be believed."""

Wanted = Literal["measured", "transferred"]
Source = Literal["measured", "cached", "transferred"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRig:
    """An imported rig, where it is kept, and how its landmarks were found."""

    rig: Rig
    path: Path
    landmarks: Source


def import_flame(file: Path, name: str, progress: Progress, landmarks: Wanted = "measured") -> ImportedRig:
    """Reads a FLAME model, gives it what the open rig knows, finds its landmarks, and keeps it under a name.

    Landmarks are measured as on the open rig (drawn, detected, cast back), once a topology; where that is not wanted, or the
    detector's file is missing or finds too few, the open rig's are transferred by nearest points, and their drift with them.

    Raises:
        PegasusError: what is wrong with the file or the name.
    """
    rig_file(name)
    progress(0.0, "reading")
    bare = flame_rig(FlameArrays.read(file), name)
    progress(0.1, "laying the open rig over it")
    rig = annotate(bare, load_rig())
    progress(0.3, "landmarks")
    rig, source = _measured(rig) if landmarks == "measured" else (rig, "transferred")
    progress(0.95, "keeping")
    return ImportedRig(rig=rig, path=save_imported(rig), landmarks=source)


def _measured(rig: Rig) -> tuple[Rig, Source]:
    measured = cache_folder() / "embeddings" / f"{rig.topology}.safetensors"
    if measured.is_file():
        return load_embedding(rig, measured), "cached"
    try:
        found = measure_embedding(rig, FaceMesh())
    except PegasusError as error:
        if error.reason is not Reason.ASSET_MISSING:
            raise
        return rig, "transferred"
    if int((found.weights > 0).sum()) < ENOUGH:
        return rig, "transferred"
    save_embedding(found, rig, measured)
    return replace(rig, landmarks=found), "measured"
