"""What the jobs of all stages share.

A job's key is that of the work as planned. On the out-of-memory ladder the configuration shrinks and the key stays; the
manifest says which configuration was in effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from pegasus_ray.library.keys import key_of
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, Stage


def plan_key(stage: Stage, inputs: Mapping[str, str], wishes: object, models: Mapping[str, str] | None = None) -> str:
    """The key of a stage's result from its inputs and all that is wished of it."""
    return key_of(stage.kind, inputs, wishes, models, format_version=FORMAT_VERSIONS[stage.kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class StageJob:
    """What all jobs have; see `Job`."""

    stage: ClassVar[Stage]
    key: str
    subject: str
    threads: int = 1

    @property
    def inputs(self) -> dict[str, str]:
        """Keys of the results that it is made from, by name."""
        return {}

    @property
    def needs(self) -> tuple[str, ...]:
        """All inputs must be there first."""
        return tuple(self.inputs.values())

    def smaller(self) -> Self | None:
        """Most stages take what they take."""
        return None
