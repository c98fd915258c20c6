"""Importing a licensed head model (FLAME) as a rig that this machine can use."""

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

MIN_MEASURED_LANDMARKS = 200
"""A measurement that finds fewer landmarks is discarded."""

Method = Literal["measured", "transferred"]
Source = Literal["measured", "cached", "transferred"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedRig:
    """An imported rig, where it is kept, and how its landmarks were found."""

    rig: Rig
    path: Path
    landmarks: Source


def import_flame(file: Path, name: str, progress: Progress, landmarks: Method = "measured") -> ImportedRig:
    """Read a FLAME model, add the open rig's annotations to it, find its landmarks, and store it as a rig.

    Landmarks are measured as on the open rig, once per topology: renders are given to the detector, and what it finds is cast
    back onto the mesh. If that is not wanted, or the detector's file is missing or it finds too few, the open rig's landmarks are
    transferred to the nearest points, together with their drift.

    Args:
        file: the model, FLAME's `generic_model.pkl`.
        name: of the new rig.
        progress: told the share done and a short text.
        landmarks: how to find them.

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
    """The rig with measured landmarks, from the cache if they are there; unchanged if they cannot be measured."""
    measured = cache_folder() / "embeddings" / f"{rig.topology}.safetensors"
    if measured.is_file():
        return load_embedding(rig, measured), "cached"
    try:
        found = measure_embedding(rig, FaceMesh())
    except PegasusError as error:
        if error.reason is not Reason.ASSET_MISSING:
            raise
        return rig, "transferred"
    if int((found.weights > 0).sum()) < MIN_MEASURED_LANDMARKS:
        return rig, "transferred"
    save_embedding(found, rig, measured)
    return replace(rig, landmarks=found), "measured"
