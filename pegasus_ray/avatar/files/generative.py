"""A generative avatar as `avatar.safetensors` and `config.json`, by the same rules as an avatar's.

Tensors are named after their block: `identity.points.offsets`, `hair.basis`, `hair.codes`, `hair.shapes`. If the avatar has
networks, they are in `fields.safetensors` together with the performance that it is decoded over (`performance.expression`, …).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from safetensors.torch import save
from torch import Tensor

from pegasus_ray.avatar.fields.codes import IDENTITY
from pegasus_ray.avatar.files.avatar import describe_avatar, dump_config
from pegasus_ray.avatar.files.checks import (
    ANOTHER_KIND,
    CONFIG,
    POINTS,
    check_fits_rig,
    expected_shapes,
    read_config,
    read_tensors,
    rig_of_avatar,
)
from pegasus_ray.avatar.files.fields import NETWORKS, dump_networks, load_networks, sizes_of
from pegasus_ray.avatar.fit.training_file import tensors_under
from pegasus_ray.avatar.generative.avatar import OWN, STATE, CodedPoints, GenerativeAvatar
from pegasus_ray.avatar.generative.field_avatar import FieldGenerative
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.avatar.points.tensors import avatar_tensors, rebuild_avatar
from pegasus_ray.library.performance import DRIVING
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.avatars import AvatarConfig, BlockConfig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

CODED: Final = ("basis", "codes", "shapes")
"""The tensors of `CodedPoints` beside its points."""
PERFORMANCE: Final = "performance."
"""Prefix of the performance's tensors."""
FRAME_WIDTHS: Final = {"head": 6, "torso": 6, "jaw": 3, "eyes": 6, "camera": 3}
"""Numbers per frame of each tensor of a performance but the expression."""


def generative_tensors(generative: GenerativeAvatar) -> dict[str, Tensor]:
    """All tensors of a generative avatar by name."""
    tensors: dict[str, Tensor] = {}
    for name, block in _blocks(generative).items():
        tensors |= {f"{name}.points.{key}": value for key, value in avatar_tensors(block.points).items()}
        tensors |= {f"{name}.{key}": getattr(block, key).contiguous() for key in CODED}
    return tensors


def describe_generative(generative: GenerativeAvatar) -> AvatarConfig:
    """The `config.json` of a generative avatar."""
    blocks = {name: BlockConfig(points=len(b.points), sources=b.sources) for name, b in _blocks(generative).items()}
    plain = describe_avatar(generative.identity.points, tuple(generative.blocks))
    size = generative.identity.codes.shape[1]
    described = plain.model_copy(update={"kind": "generative", "blocks": blocks, "code_size": size})
    if not isinstance(generative, FieldGenerative):
        return described
    frames, sizes = len(generative.performance), sizes_of(generative.networks)
    return described.model_copy(update={"preset": "paper", "fields": sizes, "performance": frames})


def dump_generative(generative: GenerativeAvatar) -> dict[str, bytes]:
    """The files of a generative avatar by name."""
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in generative_tensors(generative).items()
    }
    files = {POINTS: save(tensors), CONFIG: dump_config(describe_generative(generative))}
    if not isinstance(generative, FieldGenerative):
        return files
    performance = {PERFORMANCE + name: getattr(generative.performance, name).contiguous() for name in DRIVING}
    return files | {NETWORKS: dump_networks(generative.networks, performance)}


def load_generative(files: Mapping[str, bytes], *, name: str = "model") -> tuple[GenerativeAvatar, AvatarConfig]:
    """A generative avatar from its files, which need not be trusted: everything is checked.

    Raises:
        PegasusError: BAD_REFERENCE where the files are not a generative avatar of this format, with what is wrong.
    """
    config = read_config(files, "generative", name=name)
    known = {IDENTITY, *(attribute.value for attribute in Attribute)}
    if IDENTITY not in config.blocks or set(config.blocks) - known:
        raise PegasusError(Reason.BAD_REFERENCE, ANOTHER_KIND["generative"], subject=name)
    if any(block.sources[0] != OWN for block in config.blocks.values()):
        raise PegasusError(Reason.BAD_REFERENCE, f"a block's first code is not {OWN!r}", subject=name)
    shapes: dict[str, tuple[int, ...]] = {}
    for label, block in config.blocks.items():
        count, codes = block.points, len(block.sources)
        points = config.model_copy(update={"points": count})
        shapes |= {f"{label}.points.{key}": shape for key, shape in expected_shapes(points).items()}
        shapes[f"{label}.basis"] = (config.code_size, count, sum(STATE.values()))
        shapes[f"{label}.codes"] = (codes, config.code_size)
        shapes[f"{label}.shapes"] = (codes, config.axes)
    tensors = read_tensors(files, POINTS, shapes, name=name)
    blocks = {label: _coded(config, label, block, tensors) for label, block in config.blocks.items()}
    rig = rig_of_avatar(config.rig, name=name)
    for coded in blocks.values():
        check_fits_rig(coded.points, rig, name=name)
    identity = blocks.pop(IDENTITY)
    avatar = GenerativeAvatar(identity=identity, blocks={Attribute(label): b for label, b in blocks.items()})
    return _with_networks(avatar, files, config, rig, name), config


def _with_networks(
    avatar: GenerativeAvatar, files: Mapping[str, bytes], config: AvatarConfig, rig: Rig, name: str
) -> GenerativeAvatar:
    """The avatar with the networks that its configuration describes, if any."""
    sizes = config.fields
    if sizes is None:
        return avatar
    fits = all(sizes.choices.get(label) == len(block.sources) for label, block in config.blocks.items())
    if not fits or sizes.code != config.code_size or config.performance == 0:
        message = "its networks have other codes than its points, or no performance to be decoded over"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=name)
    widths = {"expression": config.expressions, **FRAME_WIDTHS}
    frames = {PERFORMANCE + key: torch.Size((config.performance, width)) for key, width in widths.items()}
    networks, beside = load_networks(files, avatar.identity.points, sizes, rig, beside=frames, name=name)
    performance = Parameters(**tensors_under(beside, PERFORMANCE))
    return FieldGenerative(identity=avatar.identity, blocks=avatar.blocks, networks=networks, performance=performance)


def _coded(config: AvatarConfig, label: str, block: BlockConfig, tensors: Mapping[str, Tensor]) -> CodedPoints:
    prefix = f"{label}.points."
    points = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    coded = {key: tensors[f"{label}.{key}"] for key in CODED}
    return CodedPoints(points=rebuild_avatar(config.rig, points), sources=block.sources, **coded)


def _blocks(generative: GenerativeAvatar) -> dict[str, CodedPoints]:
    return {IDENTITY: generative.identity, **{a.value: block for a, block in generative.blocks.items()}}
