"""An avatar as a safetensors file and a `config.json`: closed schema, known names, checked shapes and types, finite numbers.

Legend: N points, Z motion components, G groups, K shape axes, E expressions, P parts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pegasus_ray.avatar.points.avatar import POSE_SIGNALS, Avatar, MotionCode
from pegasus_ray.avatar.points.shading import TERMS
from pegasus_ray.schemas.avatars import MAX_TRIANGLES, AvatarConfig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part

TENSORS = (
    "shape", "triangles", "barycentric", "offsets", "log_radii", "opacity_logits", "albedo", "part_logits",
    "position_basis", "colour_basis", "groups", "lights",
)  # fmt: skip
MOTION = ("mean", "components", "scale")
INTEGERS = ("triangles", "groups")


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


def describe_avatar(avatar: Avatar, attributes: tuple[Attribute, ...] = ()) -> AvatarConfig:
    """The `config.json` of an avatar."""
    return AvatarConfig(
        rig=avatar.rig,
        points=len(avatar),
        components=avatar.position_basis.shape[0],
        groups=len(avatar.motions),
        axes=avatar.shape.shape[0],
        expressions=avatar.motions[0].mean.shape[0] - POSE_SIGNALS,
        attributes=attributes,
    )


def dump_avatar(avatar: Avatar, attributes: tuple[Attribute, ...] = ()) -> dict[str, bytes]:
    """The files of an avatar by name: `avatar.safetensors` and `config.json`."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in avatar_tensors(avatar).items()}
    config = describe_avatar(avatar, attributes)
    return {"avatar.safetensors": save(tensors), "config.json": config.model_dump_json(indent=2).encode()}


def load_avatar(files: Mapping[str, bytes], *, name: str = "avatar") -> tuple[Avatar, AvatarConfig]:
    """An avatar from its files, whoever wrote them.

    Raises:
        PegasusError: BAD_REFERENCE where the files are not an avatar of this format, with what is wrong.
    """
    try:
        config = AvatarConfig.model_validate_json(files["config.json"])
    except KeyError as error:
        raise PegasusError(Reason.BAD_REFERENCE, f"it has no {error.args[0]}", subject=name) from None
    except ValidationError as error:
        raise PegasusError(
            Reason.BAD_REFERENCE, f"its config.json is not one of ours: {error.errors()[0]['msg']}", subject=name
        ) from None
    if config.kind != "avatar":
        raise PegasusError(Reason.BAD_REFERENCE, "it is a generative avatar; name one of its codes", subject=name)
    tensors = read_tensors(files, name=name)
    check_tensors(tensors, expected_shapes(config), name=name)
    return rebuild_avatar(config.rig, tensors), config


def read_tensors(files: Mapping[str, bytes], *, name: str) -> dict[str, Tensor]:
    """The tensors of `avatar.safetensors`. Raises PegasusError BAD_REFERENCE for a missing or broken file."""
    try:
        # Cloned, for alignment: sums must not depend on where a file put its numbers.
        return {key: tensor.clone() for key, tensor in load(files["avatar.safetensors"]).items()}
    except KeyError:
        raise PegasusError(Reason.BAD_REFERENCE, "it has no avatar.safetensors", subject=name) from None
    except SafetensorError as error:
        raise PegasusError(Reason.BAD_REFERENCE, f"its avatar.safetensors is broken: {error}", subject=name) from None


def expected_shapes(config: AvatarConfig) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor must have."""
    n, z, g, signal = config.points, config.components, config.groups, config.expressions + POSE_SIGNALS
    return {
        "shape": (config.axes,), "triangles": (n,), "barycentric": (n, 3), "offsets": (n, 3), "log_radii": (n,),
        "opacity_logits": (n,), "albedo": (n, 3), "part_logits": (n, len(Part)), "position_basis": (z, n, 3),
        "colour_basis": (z, n, 3), "groups": (n,), "lights": (g, TERMS, 3),
        "motion.mean": (g, signal), "motion.components": (g, z, signal), "motion.scale": (g, z),
    }  # fmt: skip


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], *, name: str) -> None:
    """Refuse tensors that are missing, unknown, of another shape or type, or not finite, by name."""
    if unknown := set(tensors) ^ set(shapes):
        raise PegasusError(
            Reason.BAD_REFERENCE, f"tensors missing or unknown: {', '.join(sorted(unknown))}", subject=name
        )
    for key, shape in shapes.items():
        tensor = tensors[key]
        wanted = torch.int64 if key.endswith(INTEGERS) else torch.float32
        if tuple(tensor.shape) != shape or tensor.dtype != wanted:
            message = f"tensor {key} is {tensor.dtype} {tuple(tensor.shape)}, expected {wanted} {shape}"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PegasusError(Reason.BAD_REFERENCE, f"tensor {key} holds numbers that are not finite", subject=name)
        end = MAX_TRIANGLES if key.endswith("triangles") else tensors[key.replace("groups", "lights")].shape[0]
        if wanted is torch.int64 and tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < end:
            raise PegasusError(Reason.BAD_REFERENCE, f"tensor {key} points at what is not there", subject=name)
