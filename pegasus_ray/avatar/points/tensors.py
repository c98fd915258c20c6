"""An avatar as a flat mapping of named tensors, and back: what files and checkpoints are made of.

Legend: N points, Z motion components, G groups, K shape axes, E expressions, P parts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.motion import MotionCode

TENSORS = (
    "shape", "triangles", "barycentric", "offsets", "log_radii", "opacity_logits", "albedo", "part_logits",
    "position_basis", "colour_basis", "groups", "lights",
)  # fmt: skip
"""The tensors of an `Avatar`."""
MOTION = ("mean", "components", "scale")
"""The tensors of a `MotionCode`."""


def avatar_tensors(avatar: Avatar) -> dict[str, Tensor]:
    """All tensors of an avatar by name; the motion codes of its groups stacked."""
    tensors = {name: getattr(avatar, name).contiguous() for name in TENSORS}
    tensors |= {f"motion.{name}": torch.stack([getattr(m, name) for m in avatar.motions]) for name in MOTION}
    return tensors


def rebuild_avatar(rig: str, tensors: Mapping[str, Tensor]) -> Avatar:
    """The inverse of `avatar_tensors`; the names must be there."""
    stacked = [tensors[f"motion.{name}"] for name in MOTION]
    motions = tuple(
        MotionCode(mean=mean, components=rows, scale=scale) for mean, rows, scale in zip(*stacked, strict=True)
    )
    return Avatar(rig=rig, motions=motions, **{name: tensors[name] for name in TENSORS})
