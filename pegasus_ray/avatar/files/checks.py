"""Reading an avatar's files without trusting them: a closed schema, known names, checked shapes and types, finite numbers.

Legend: N points, Z motion components, G groups, P parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pegasus_ray.avatar.points.motion import POSE_SIGNALS
from pegasus_ray.avatar.points.shading import TERMS
from pegasus_ray.schemas.avatars import MAX_TRIANGLES, AvatarConfig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Part

CONFIG: Final = "config.json"
POINTS: Final = "avatar.safetensors"
INDICES: Final = ("triangles", "groups")
"""Names of the tensors that hold indices; these are checked to be in range."""
ANOTHER_KIND: Final = {
    "avatar": "it is a generative avatar; name one of its codes",
    "generative": "it is not a generative avatar",
}
"""Message for a file of another kind than the one that was asked for."""


def read_config(files: Mapping[str, bytes], kind: Literal["avatar", "generative"], *, name: str) -> AvatarConfig:
    """The `config.json` of an avatar of one kind.

    Raises:
        PegasusError: BAD_REFERENCE where the file is missing, is not of our schema, or describes the other kind.
    """
    if CONFIG not in files:
        raise PegasusError(Reason.BAD_REFERENCE, f"it has no {CONFIG}", subject=name)
    try:
        config = AvatarConfig.model_validate_json(files[CONFIG])
    except ValidationError as error:
        message = f"its {CONFIG} is not one of ours: {error.errors()[0]['msg']}"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=name) from None
    if config.kind != kind:
        raise PegasusError(Reason.BAD_REFERENCE, ANOTHER_KIND[kind], subject=name)
    return config


def read_tensors(files: Mapping[str, bytes], file: str, *, name: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises PegasusError BAD_REFERENCE where it is missing or broken."""
    if file not in files:
        raise PegasusError(Reason.BAD_REFERENCE, f"it has no {file}", subject=name)
    try:
        # Cloned, for alignment: sums must not depend on where a file put its numbers.
        return {key: tensor.clone() for key, tensor in load(files[file]).items()}
    except SafetensorError as error:
        raise PegasusError(Reason.BAD_REFERENCE, f"its {file} is broken: {error}", subject=name) from None


def expected_shapes(config: AvatarConfig) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor of an avatar's points must have."""
    n, z, g, signal = config.points, config.components, config.groups, config.expressions + POSE_SIGNALS
    return {
        "shape": (config.axes,), "triangles": (n,), "barycentric": (n, 3), "offsets": (n, 3), "log_radii": (n,),
        "opacity_logits": (n,), "albedo": (n, 3), "part_logits": (n, len(Part)), "position_basis": (z, n, 3),
        "colour_basis": (z, n, 3), "groups": (n,), "lights": (g, TERMS, 3),
        "motion.mean": (g, signal), "motion.components": (g, z, signal), "motion.scale": (g, z),
    }  # fmt: skip


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], *, name: str) -> None:
    """Refuse tensors that are missing, unknown, of another shape or type, or not finite.

    Raises:
        PegasusError: BAD_REFERENCE naming the tensor.
    """
    if unknown := set(tensors) ^ set(shapes):
        raise PegasusError(
            Reason.BAD_REFERENCE, f"tensors missing or unknown: {', '.join(sorted(unknown))}", subject=name
        )
    for key, shape in shapes.items():
        tensor = tensors[key]
        wanted = torch.int64 if key.endswith(INDICES) else torch.float32
        if tuple(tensor.shape) != shape or tensor.dtype != wanted:
            message = f"tensor {key} is {tensor.dtype} {tuple(tensor.shape)}, expected {wanted} {shape}"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PegasusError(Reason.BAD_REFERENCE, f"tensor {key} holds numbers that are not finite", subject=name)
        end = MAX_TRIANGLES if key.endswith("triangles") else tensors[key.replace("groups", "lights")].shape[0]
        if wanted is torch.int64 and tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < end:
            raise PegasusError(Reason.BAD_REFERENCE, f"tensor {key} points at what is not there", subject=name)
