"""The networks of a field avatar as `fields.safetensors`, next to the files of the explicit avatar that they were baked to.

The points' generic canonical places are stored there too, and the networks' sizes in `config.json`. Bindings, radii, opacity,
parts and motion codes are those of the explicit avatar.

Legend: N points.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Final

import torch
from safetensors.torch import save
from torch import Tensor

from pegasus_ray.avatar.fields.avatar import FieldAvatar, Fields
from pegasus_ray.avatar.fields.codes import BLOCKS
from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.files.avatar import describe_avatar, dump_avatar, dump_config
from pegasus_ray.avatar.files.checks import CONFIG, read_tensors
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.avatars import AvatarConfig, FieldSizes
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

NETWORKS: Final = "fields.safetensors"
PLACES: Final = "offsets"
"""The tensor of the points' offsets in the generic canonical space, (N, 3) metres, in the networks' file."""


def dump_fields(avatar: Avatar, fields: Fields, attributes: tuple[Attribute, ...] = ()) -> dict[str, bytes]:
    """The files of an avatar with networks: those of `dump_avatar`, and theirs."""
    config = describe_avatar(avatar, attributes)
    config = config.model_copy(update={"preset": "paper", "fields": sizes_of(fields.networks)})
    places = {PLACES: fields.points.offsets.detach().cpu().contiguous()}
    files = dump_avatar(avatar, attributes) | {NETWORKS: dump_networks(fields.networks, places)}
    return files | {CONFIG: dump_config(config)}


def sizes_of(networks: FieldAvatar) -> FieldSizes:
    """The sizes of networks, as `config.json` holds them."""
    return FieldSizes(**asdict(networks.config), choices=networks.codes.choices)


def dump_networks(networks: FieldAvatar, beside: Mapping[str, Tensor] | None = None) -> bytes:
    """The file of networks, with the tensors `beside` in it too."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in networks.state_dict().items()}
    file: bytes = save(tensors | dict(beside or {}))
    return file


def load_fields(
    files: Mapping[str, bytes], avatar: Avatar, config: AvatarConfig, rig: Rig, *, name: str = "avatar"
) -> Fields | None:
    """The networks of an avatar from its files; nothing where it has none.

    Args:
        files: by name; they need not be trusted.
        avatar: the avatar that `load_avatar` read from them.
        config: the configuration that `load_avatar` read from them.
        rig: that the avatar is bound to.
        name: for messages.

    Raises:
        PegasusError: BAD_REFERENCE where the networks are not those that the configuration describes.
    """
    if config.fields is None:
        return None
    networks, beside = load_networks(
        files, avatar, config.fields, rig, beside={PLACES: avatar.offsets.shape}, name=name
    )
    return Fields(networks=networks, points=replace(avatar, offsets=beside[PLACES]))


def load_networks(
    files: Mapping[str, bytes],
    points: Avatar,
    sizes: FieldSizes,
    rig: Rig,
    *,
    beside: Mapping[str, torch.Size] | None = None,
    name: str = "avatar",
) -> tuple[FieldAvatar, dict[str, Tensor]]:
    """Networks over points from their file, and the other tensors that must be in it.

    Args:
        files: by name; they need not be trusted.
        points: that the networks are evaluated at.
        sizes: of the networks.
        rig: that the points are bound to.
        beside: shapes of the other tensors by name.
        name: for messages.

    Raises:
        PegasusError: BAD_REFERENCE where the file does not hold what is described.
    """
    described = sizes.model_dump()
    choices = described.pop("choices")
    if set(choices) != set(BLOCKS) or not all(1 <= count <= 4096 for count in choices.values()):
        raise PegasusError(Reason.BAD_REFERENCE, f"its codes are not {', '.join(BLOCKS)}", subject=name)
    config = FieldConfig(**described)
    with torch.device("meta"):  # only shapes: nothing is allocated and nothing drawn before the file is known to fit
        shapes = _shapes_of(FieldAvatar(rig, points, config, torch.Generator(), choices=choices))
    shapes |= {key: tuple(shape) for key, shape in (beside or {}).items()}
    tensors = read_tensors(files, NETWORKS, shapes, name=name)
    networks = FieldAvatar(rig, points, config, torch.Generator(), choices=choices)
    others = {key: tensors.pop(key) for key in beside or {}}
    networks.load_state_dict(tensors)
    return networks.requires_grad_(False), others


def _shapes_of(networks: FieldAvatar) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of networks by name."""
    return {key: tuple(value.shape) for key, value in networks.state_dict().items()}
