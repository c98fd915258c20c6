"""An avatar's `config.json`: a closed schema with bounds, which is checked before any tensor is read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pegasus_ray.schemas.parts import Attribute

# Bounds on what a file may claim, so that a damaged or hostile one cannot ask for any amount of memory.
MAX_POINTS = 2_000_000
MAX_TRIANGLES = 10_000_000  # of the rig to which points are bound
MAX_COMPONENTS = 64  # of the motion basis
MAX_GROUPS = 64  # of points: one for each person from whom points come, the avatar's own person included
MAX_AXES = 1024  # of identity, and of expression
MAX_TRUNK_WEIGHTS = 1 << 26  # width · width · depth of one network: 256 MiB of weights


class BlockConfig(BaseModel):
    """One block of a generative avatar's code: the identity's or an attribute's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: int = Field(ge=0, le=MAX_POINTS)
    sources: tuple[str, ...] = Field(min_length=1, max_length=4096)
    """The avatars that its codes were learned from; the first is the person's own."""


class FieldSizes(BaseModel):
    """Sizes and switches of the networks of an avatar of the preset `paper`, as they were when it was fitted.

    The names and meanings are those of `FieldConfig` (`avatar.fields.config`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: int = Field(ge=1, le=1024)
    field_width: int = Field(ge=1, le=4096)
    field_depth: int = Field(ge=1, le=64)
    field_skip: int = Field(ge=0, le=64)
    frequencies: int = Field(ge=0, le=32)
    deformer_width: int = Field(ge=1, le=4096)
    deformer_depth: int = Field(ge=1, le=64)
    shading_width: int = Field(ge=1, le=4096)
    shading_depth: int = Field(ge=1, le=64)
    subject_stage: bool
    rig_stage: bool
    own_looks: bool = False
    anchored: bool
    field_normals: bool
    grid_levels: int = Field(default=0, ge=0, le=12)
    free_discs: bool = False
    chunk: int = Field(ge=1, le=MAX_POINTS)
    choices: dict[str, int] = Field(default_factory=dict, max_length=16)
    """The number of codes of each block."""

    @model_validator(mode="after")
    def _networks_of_possible_size(self) -> FieldSizes:
        if name := oversized_network(self):
            raise ValueError(f"{name}_width² · {name}_depth is over {MAX_TRUNK_WEIGHTS}")
        return self


def oversized_network(sizes: object) -> str:
    """The name of the first network that has too many weights, of anything with the sizes of `FieldSizes`; empty if none has."""
    for name in ("field", "deformer", "shading"):
        width, depth = getattr(sizes, f"{name}_width"), getattr(sizes, f"{name}_depth")
        if width * width * depth > MAX_TRUNK_WEIGHTS:
            return name
    return ""


class AvatarConfig(BaseModel):
    """An avatar, or a generative one with its blocks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: Literal["avatar", "generative"] = "avatar"
    preset: str = Field(default="fast", max_length=64)
    rig: str = Field(max_length=64)
    points: int = Field(ge=1, le=MAX_POINTS)
    components: int = Field(ge=0, le=MAX_COMPONENTS)
    groups: int = Field(ge=1, le=MAX_GROUPS)
    axes: int = Field(ge=1, le=MAX_AXES)
    expressions: int = Field(ge=1, le=MAX_AXES)
    attributes: tuple[Attribute, ...] = ()
    """The attributes that this avatar may give."""
    blocks: dict[str, BlockConfig] = Field(default_factory=dict)
    """A generative avatar's blocks by name; an avatar has none."""
    code_size: int = Field(default=0, ge=0, le=1024)
    fields: FieldSizes | None = None
    """The networks of an avatar that has any beside its points; their weights are in `fields.safetensors`."""
    performance: int = Field(default=0, ge=0, le=4096)
    """Number of frames of the performance over which a generative avatar with networks is decoded."""
