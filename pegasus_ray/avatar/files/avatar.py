"""An avatar of explicit points as files: `avatar.safetensors` and `config.json`."""

from __future__ import annotations

from collections.abc import Mapping

from safetensors.torch import save

from pegasus_ray.avatar.files.checks import CONFIG, POINTS, expected_shapes, read_config, read_tensors
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.motion import POSE_SIGNALS
from pegasus_ray.avatar.points.tensors import avatar_tensors, rebuild_avatar
from pegasus_ray.schemas.avatars import AvatarConfig
from pegasus_ray.schemas.parts import Attribute


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
    """The files of an avatar by name."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in avatar_tensors(avatar).items()}
    return {POINTS: save(tensors), CONFIG: dump_config(describe_avatar(avatar, attributes))}


def dump_config(config: AvatarConfig) -> bytes:
    """The bytes of a `config.json`."""
    return config.model_dump_json(indent=2).encode()


def load_avatar(files: Mapping[str, bytes], *, name: str = "avatar") -> tuple[Avatar, AvatarConfig]:
    """An avatar from its files, which need not be trusted: everything is checked but whether it fits its rig.

    `check_fits_rig` checks that, where the rig is at hand.

    Raises:
        PegasusError: BAD_REFERENCE where the files are not an avatar of this format, with what is wrong.
    """
    config = read_config(files, "avatar", name=name)
    tensors = read_tensors(files, POINTS, expected_shapes(config), name=name)
    return rebuild_avatar(config.rig, tensors), config
