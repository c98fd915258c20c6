"""The landmark embedding of the open rig: where on the mesh the landmark model puts its points. It is part of the package.

`python -m pegasus_ray.perception.embedding` measures it: it renders the rig, runs the landmark model and casts its points
back on the mesh. `python -m pegasus_ray.evaluate.measure_drift` then adds how the points drift as the head turns.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from safetensors import safe_open
from safetensors.torch import save_file

from pegasus_ray.rig.model import LandmarkEmbedding, Rig
from pegasus_ray.schemas.errors import PegasusError, Reason

EMBEDDING: Final = Path(__file__).parent / "data" / "landmark_embedding.safetensors"


def save_embedding(embedding: LandmarkEmbedding, rig: Rig, path: Path = EMBEDDING) -> None:
    """Write an embedding with the digest of the topology that it was measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        "triangles": embedding.triangles,
        "barycentric": embedding.barycentric,
        "weights": embedding.weights,
    }
    if embedding.drift is not None:
        tensors["drift"] = embedding.drift.half()  # precise to a micrometre
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={"topology": rig.topology}
    )


def load_embedding(rig: Rig, path: Path = EMBEDDING) -> Rig:
    """The rig with the landmarks' places from a file.

    Raises:
        PegasusError: ASSET_MISSING where there is no file; ASSET_CORRUPT where it was measured on another mesh.
    """
    way_out = "measure it again: python -m pegasus_ray.perception.embedding"
    if not path.is_file():
        raise PegasusError(Reason.ASSET_MISSING, f"no landmark embedding; {way_out}", subject=str(path))
    with safe_open(path, framework="pt") as file:
        measured_on = (file.metadata() or {}).get("topology")
        if measured_on != rig.topology:
            message = (
                f"the landmark embedding was measured on mesh {measured_on}, this one is {rig.topology}; {way_out}"
            )
            raise PegasusError(Reason.ASSET_CORRUPT, message, subject=str(path))
        embedding = LandmarkEmbedding(
            triangles=file.get_tensor("triangles"),
            barycentric=file.get_tensor("barycentric"),
            weights=file.get_tensor("weights"),
            drift=file.get_tensor("drift").float() if "drift" in file.keys() else None,  # noqa: SIM118
        )
    return replace(rig, landmarks=embedding)
