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

from pegasus_ray.avatar.files.header import Described, check_header
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.motion import POSE_SIGNALS
from pegasus_ray.avatar.points.shading import TERMS
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig
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
MAX_CONFIG_BYTES: Final = 4 << 20
"""Largest `config.json` that is parsed; the names of a generative avatar's sources are what makes one long."""


def read_config(files: Mapping[str, bytes], kind: Literal["avatar", "generative"], *, name: str) -> AvatarConfig:
    """The `config.json` of an avatar of one kind.

    Raises:
        PegasusError: BAD_REFERENCE where the file is missing, is too large or not of our schema, or describes the other kind.
    """
    if CONFIG not in files:
        raise PegasusError(Reason.BAD_REFERENCE, f"it has no {CONFIG}", subject=name)
    if len(files[CONFIG]) > MAX_CONFIG_BYTES:
        raise PegasusError(Reason.BAD_REFERENCE, f"its {CONFIG} is larger than any of ours", subject=name)
    try:
        config = AvatarConfig.model_validate_json(files[CONFIG])
    except ValidationError as error:
        message = f"its {CONFIG} is not one of ours: {error.errors()[0]['msg']}"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=name) from None
    if config.kind != kind:
        raise PegasusError(Reason.BAD_REFERENCE, ANOTHER_KIND[kind], subject=name)
    return config


def read_tensors(
    files: Mapping[str, bytes], file: str, shapes: Mapping[str, tuple[int, ...]], *, name: str
) -> dict[str, Tensor]:
    """The tensors of a safetensors file. It is not loaded before its header is seen to describe those that are wanted.

    Args:
        files: by name; they need not be trusted.
        file: the name of the safetensors file.
        shapes: of all tensors that must be in it, by name.
        name: for messages.

    Raises:
        PegasusError: BAD_REFERENCE where the file is missing or broken; where a tensor is missing, unknown, of another shape or
            type, or not finite; or where an index is out of range. The message names the tensor.
    """
    if file not in files:
        raise PegasusError(Reason.BAD_REFERENCE, f"it has no {file}", subject=name)
    wanted = {key: Described("I64" if key.endswith(INDICES) else "F32", shape) for key, shape in shapes.items()}
    try:
        check_header(files[file], wanted)
        # Cloned, for alignment: sums must not depend on where a file put its numbers.
        tensors = {key: tensor.clone() for key, tensor in load(files[file]).items()}
    except (SafetensorError, ValueError) as error:
        raise PegasusError(Reason.BAD_REFERENCE, f"its {file} is broken: {error}", subject=name) from None
    for key in tensors:
        _check_numbers(key, tensors, name)
    return tensors


def expected_shapes(config: AvatarConfig) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor of an avatar's points must have."""
    n, z, g, signal = config.points, config.components, config.groups, config.expressions + POSE_SIGNALS
    return {
        "shape": (config.axes,), "triangles": (n,), "barycentric": (n, 3), "offsets": (n, 3), "log_radii": (n,),
        "opacity_logits": (n,), "albedo": (n, 3), "part_logits": (n, len(Part)), "position_basis": (z, n, 3),
        "colour_basis": (z, n, 3), "groups": (n,), "lights": (g, TERMS, 3),
        "motion.mean": (g, signal), "motion.components": (g, z, signal), "motion.scale": (g, z),
    }  # fmt: skip


def rig_of_avatar(rig: str, *, name: str) -> Rig:
    """The rig that an avatar's files name. Raises PegasusError where this machine does not have it, naming the avatar."""
    try:
        return load_rig(rig)
    except PegasusError as error:
        raise PegasusError(error.reason, f"its rig {error}", subject=name) from error


def check_fits_rig(avatar: Avatar, rig: Rig, *, name: str) -> None:
    """Refuse an avatar that is bound to what its rig does not have.

    An index that is out of range would be an assertion on a GPU, after which the worker's process can compute nothing more.

    Raises:
        PegasusError: BAD_REFERENCE with what the rig does not have.
    """
    sizes = {
        "shape axes": (len(avatar.shape), len(rig.shape_names)),
        "expressions": (avatar.motions[0].mean.shape[0] - POSE_SIGNALS, len(rig.expression_names)),
    }
    for what, (found, wanted) in sizes.items():
        if found != wanted:
            message = f"it has {found} {what}, and its rig {rig.name} has {wanted}"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
    if len(avatar) and int(avatar.triangles.max()) >= len(rig.faces):
        message = f"tensor triangles points at what is not there: its rig {rig.name} has {len(rig.faces)} triangles"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)


def _check_numbers(key: str, tensors: Mapping[str, Tensor], name: str) -> None:
    """Refuse a tensor with numbers that are not finite, or with indices that are out of range."""
    tensor = tensors[key]
    if tensor.is_floating_point():
        if not bool(torch.isfinite(tensor).all()):
            raise PegasusError(Reason.BAD_REFERENCE, f"tensor {key} holds numbers that are not finite", subject=name)
        return
    end = MAX_TRIANGLES if key.endswith("triangles") else tensors[key.replace("groups", "lights")].shape[0]
    if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < end:
        raise PegasusError(Reason.BAD_REFERENCE, f"tensor {key} points at what is not there", subject=name)
