"""What stands in an avatar's `config.json`: a closed schema with bounds, checked before any tensor is read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pegasus_ray.schemas.parts import Attribute

MAX_POINTS = 2_000_000
MAX_TRIANGLES = 10_000_000
MAX_COMPONENTS = 64
MAX_GROUPS = 64
MAX_AXES = 1024


class BlockConfig(BaseModel):
    """One block of a generative avatar's code: the identity's or an attribute's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    points: int = Field(ge=0, le=MAX_POINTS)
    sources: tuple[str, ...] = Field(min_length=1, max_length=4096)
    """The avatars that its codes were learned from; the first is the person's own."""


class AvatarConfig(BaseModel):
    """An explicit avatar, or a generative one with its blocks."""

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
