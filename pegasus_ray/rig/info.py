"""The sizes of a rig."""

from __future__ import annotations

from typing import Any

from pegasus_ray.rig.imported import rig_file
from pegasus_ray.rig.load import OPEN, load_rig
from pegasus_ray.rig.open_rig import cached_file
from pegasus_ray.rig.pca import dense_basis
from pegasus_ray.schemas.parts import Attribute


def rig_info(name: str = OPEN) -> dict[str, Any]:
    """What `pegasus rig info` answers.

    Raises:
        PegasusError: BAD_REFERENCE for a rig that is not on this machine.
    """
    rig = load_rig(name)
    axes = {attribute.value: int(rig.axes_of(attribute).sum()) for attribute in Attribute}
    axes["global"] = int(rig.global_axes.sum())
    axes["other"] = len(rig.shape_names) - sum(axes.values())
    dense = dense_basis(rig)
    return {
        "name": rig.name,
        "vertices": len(rig.template),
        "faces": len(rig.faces),
        "shape": len(rig.shape_names),
        "expression": len(rig.expression_names),
        "joints": len(rig.joint_names),
        "pose_features": len(rig.pose_basis),
        "landmarks": int((rig.landmarks.weights > 0).sum()),
        "baked_bytes": (cached_file() if name == OPEN else rig_file(name)).stat().st_size,
        "axes": axes,
        "dense": {
            "components": len(dense.components),
            "explained": {str(count): round(float(dense.explained[count - 1]), 4) for count in (1, 10, 20, 50)},
        },
    }
