"""Sizes and switches of the networks of the preset `paper`."""

from __future__ import annotations

from dataclasses import dataclass

from pegasus_ray.schemas.avatars import MAX_TRUNK_WEIGHTS, oversized_network
from pegasus_ray.schemas.errors import PegasusError, Reason

MAX_GRID_LEVELS = 12
"""A cell of a finer level would be smaller than the spacing of single-precision numbers within a head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldConfig:
    """The networks of the preset `paper`; the defaults are the reference's sizes."""

    code: int = 32  # learnable numbers in a block
    field_width: int = 512
    field_depth: int = 9
    field_skip: int = 4  # layer that sees the inputs and the code again
    frequencies: int = 6  # of the positional encoding
    deformer_width: int = 128
    deformer_depth: int = 4
    shading_width: int = 512
    shading_depth: int = 2
    subject_stage: bool = False  # generic → subject canonical (Eq. 5); off for the avatar of a single person (§4.2)
    rig_stage: bool = True  # subject → rig canonical (Eq. 6)
    own_looks: bool = False  # learn colours and motion as differences from the points' own; off: from nothing
    anchored: bool = True  # learn bases and skinning as differences from the rig's; off: from nothing, as the reference
    field_normals: bool = True  # normals by the whole Jacobian of Eq. 3; off: rotated with the bones only
    grid_levels: int = 0  # levels of the hash grid (`grid.py`) beside the positional encoding; none, as the reference
    free_discs: bool = False  # learn radius and opacity per point; off: opaque, radii by one rule, as the reference
    chunk: int = 16384  # points evaluated at once; for more, activations are computed again to save memory

    def __post_init__(self) -> None:
        if min(self.code, self.field_width, self.field_depth, self.deformer_width, self.deformer_depth, self.chunk) < 1:
            raise PegasusError(Reason.BAD_CONFIG, "sizes of networks must be one at least", subject="fit.fields")
        if name := oversized_network(self):
            message = f"width² · depth of a network may be {MAX_TRUNK_WEIGHTS}; make it narrower"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=f"fit.fields.{name}_width")
        if not 0 <= self.grid_levels <= MAX_GRID_LEVELS:
            message = f"there can be 0 to {MAX_GRID_LEVELS} levels of the grid"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="fit.fields.grid_levels")
