"""Sizes and switches of the fields."""

from __future__ import annotations

from dataclasses import dataclass

from pegasus_ray.schemas.errors import PegasusError, Reason

MOST_LEVELS = 12
"""Cells of a finer grid than that would be smaller than a single-precision number can tell apart in a head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldConfig:
    """The networks of the preset `paper`; the defaults are the reference's sizes."""

    code: int = 32  # numbers a block
    field_width: int = 512
    field_depth: int = 9
    field_skip: int = 4
    frequencies: int = 6
    deformer_width: int = 128
    deformer_depth: int = 4
    shading_width: int = 512
    shading_depth: int = 2
    subject_stage: bool = False  # generic → subject canonical (Eq. 5); off for the avatar of a single person (§4.2)
    rig_stage: bool = True  # subject → rig canonical (Eq. 6)
    own_looks: bool = False  # colours and motion as differences from what the points bring along; off: from nothing
    anchored: bool = True  # bases and skinning as differences from the rig's own; off: from nothing, as the reference
    field_normals: bool = True  # normals by the whole Jacobian of Eq. 3; off: turned with the bones alone
    grid_levels: int = 0  # of a learned encoding of places beside the waves (`grid.py`); none, as the reference
    free_discs: bool = (
        False  # each point's radius and opacity are learned; off: opaque points of one law, as the reference
    )
    chunk: int = 16384  # points done at once before memory is saved by computing twice

    def __post_init__(self) -> None:
        if min(self.code, self.field_width, self.field_depth, self.deformer_width, self.deformer_depth, self.chunk) < 1:
            raise PegasusError(Reason.BAD_CONFIG, "sizes of networks must be one at least", subject="fit.fields")
        if not 0 <= self.grid_levels <= MOST_LEVELS:
            message = f"there can be 0 to {MOST_LEVELS} levels of the grid"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="fit.fields.grid_levels")
