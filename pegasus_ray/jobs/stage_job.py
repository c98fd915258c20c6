"""What the jobs of all stages share.

A job's key is computed from the work as planned. When the out-of-memory ladder shrinks the configuration, the key stays
the same, and the manifest says which configuration was in effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from pegasus_ray.library.keys import key_of
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, Stage


def plan_key(stage: Stage, inputs: Mapping[str, str], settings: object, models: Mapping[str, str] | None = None) -> str:
    """The key of a stage's result, from the keys or digests of its inputs, its settings, and the digests of its model files."""
    return key_of(stage.kind, inputs, settings, models, format_version=FORMAT_VERSIONS[stage.kind])


@dataclass(frozen=True, slots=True, kw_only=True)
class StageJob:
    """The fields and defaults of all jobs; see `Job`."""

    stage: ClassVar[Stage]
    key: str
    subject: str
    threads: int = 1

    @property
    def inputs(self) -> dict[str, str]:
        """Keys of the results that this one is made from, by name."""
        return {}

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of all inputs: they must be there first."""
        return tuple(self.inputs.values())

    def smaller(self) -> Self | None:
        """None: most stages cannot be done with less memory."""
        return None
