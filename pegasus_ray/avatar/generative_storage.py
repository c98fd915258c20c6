"""A generative avatar as `avatar.safetensors` and `config.json`, by the same rules as an avatar's.

Tensors are named after their block: `identity.points.offsets`, `hair.basis`, `hair.codes`, `hair.shapes`.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from pegasus_ray.avatar.generative import OWN, STATE, CodedPoints, GenerativeAvatar
from pegasus_ray.avatar.storage import (
    avatar_tensors,
    check_tensors,
    describe_avatar,
    expected_shapes,
    read_tensors,
    rebuild_avatar,
)
from pegasus_ray.schemas.avatars import AvatarConfig, BlockConfig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

IDENTITY = "identity"
CODED = ("basis", "codes", "shapes")


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
    return plain.model_copy(update={"kind": "generative", "blocks": blocks, "code_size": size})


def dump_generative(generative: GenerativeAvatar) -> dict[str, bytes]:
    """The files of a generative avatar by name."""
    tensors = {
        name: value.detach().cpu().contiguous().clone() for name, value in generative_tensors(generative).items()
    }
    return {
        "avatar.safetensors": save(tensors),
        "config.json": describe_generative(generative).model_dump_json(indent=2).encode(),
    }


def load_generative(files: Mapping[str, bytes], *, name: str = "model") -> tuple[GenerativeAvatar, AvatarConfig]:
    """A generative avatar from its files, whoever wrote them.

    Raises:
        PegasusError: BAD_REFERENCE where the files are not a generative avatar of this format, with what is wrong.
    """
    try:
        config = AvatarConfig.model_validate_json(files["config.json"])
    except KeyError:
        raise PegasusError(Reason.BAD_REFERENCE, "it has no config.json", subject=name) from None
    except ValidationError as error:
        message = f"its config.json is not one of ours: {error.errors()[0]['msg']}"
        raise PegasusError(Reason.BAD_REFERENCE, message, subject=name) from None
    known = {IDENTITY, *(attribute.value for attribute in Attribute)}
    if config.kind != "generative" or IDENTITY not in config.blocks or set(config.blocks) - known:
        raise PegasusError(Reason.BAD_REFERENCE, "it is not a generative avatar", subject=name)
    if any(block.sources[0] != OWN for block in config.blocks.values()):
        raise PegasusError(Reason.BAD_REFERENCE, f"a block's first code is not {OWN!r}", subject=name)
    tensors = read_tensors(files, name=name)
    shapes: dict[str, tuple[int, ...]] = {}
    for label, block in config.blocks.items():
        count, codes = block.points, len(block.sources)
        points = config.model_copy(update={"points": count})
        shapes |= {f"{label}.points.{key}": shape for key, shape in expected_shapes(points).items()}
        shapes[f"{label}.basis"] = (config.code_size, count, sum(STATE.values()))
        shapes[f"{label}.codes"] = (codes, config.code_size)
        shapes[f"{label}.shapes"] = (codes, config.axes)
    check_tensors(tensors, shapes, name=name)
    blocks = {label: _coded(config, label, block, tensors) for label, block in config.blocks.items()}
    identity = blocks.pop(IDENTITY)
    return GenerativeAvatar(identity=identity, blocks={Attribute(label): b for label, b in blocks.items()}), config


def _coded(config: AvatarConfig, label: str, block: BlockConfig, tensors: Mapping[str, Tensor]) -> CodedPoints:
    prefix = f"{label}.points."
    points = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    coded = {key: tensors[f"{label}.{key}"] for key in CODED}
    return CodedPoints(points=rebuild_avatar(config.rig, points), sources=block.sources, **coded)


def _blocks(generative: GenerativeAvatar) -> dict[str, CodedPoints]:
    return {IDENTITY: generative.identity, **{a.value: block for a, block in generative.blocks.items()}}
