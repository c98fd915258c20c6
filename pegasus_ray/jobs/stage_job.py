"""What the jobs of all stages share.

A job's key is computed from the work as planned: what people say about a recording (whom it shows, under what consent, what it is
there to give) is no part of it. Where the out-of-memory ladder shrinks the work, the smaller work has a key of its own and its
manifest names what it stands in for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self, cast

from pegasus_ray.library.keys import keys_of, to_json_types
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, InputEntry, Provenance, SeenPerson, Stage


class Identity(NamedTuple):
    """What tells a piece of work from all others."""

    key: str  # of the result
    work: str  # the same without the version of the stage: equal for what other versions made of the same inputs


def identify(
    stage: Stage, inputs: Mapping[str, str], settings: object, models: Mapping[str, str] | None = None
) -> Identity:
    """The identity of a stage's work, by the keys or digests of its inputs, its settings, and the digests of its model files."""
    return Identity(*keys_of(stage.kind, inputs, settings, models, format_versions=(FORMAT_VERSIONS[stage.kind], 0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StageJob:
    """The fields and defaults of all jobs; see `Job`."""

    stage: ClassVar[Stage]
    key: str
    work: str = ""  # see `Identity`
    subject: str
    threads: int = 1
    seen: tuple[SeenPerson, ...] = ()  # everybody who can be seen in the result
    stale: frozenset[str] = frozenset()  # keys of inputs that an earlier version of their stage made
    instead_of: str = ""  # key of the finer result for which there was not enough memory
    room: int = 0  # bytes of memory of the machine where that was so
    short_of: int = 0  # bytes of memory with which an earlier try at this job did not get by; 0 if none failed so

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

    def provenance(
        self,
        config: object,
        *,
        source: str,
        rig: str,
        device: str = "cpu",
        more_inputs: Sequence[InputEntry] = (),
        **facts: Any,
    ) -> Provenance:
        """Describe how the result was made.

        Args:
            config: the configuration that was in effect.
            source: name of the video that it shows, or what was recombined.
            rig: name of the rig whose parameters it uses.
            device: class of the device, see `device_class`.
            more_inputs: those that are not among `inputs`, such as files.
            facts: other fields of `Provenance`.
        """
        results = [InputEntry(name=name, key=key, stale=key in self.stale) for name, key in self.inputs.items()]
        return Provenance(
            inputs=(*results, *more_inputs),
            config=cast(dict[str, Any], to_json_types(config)),
            work=self.work,
            source=source,
            rig=rig,
            threads=self.threads,
            device=device,
            seen=self.seen,
            instead_of=self.instead_of,
            room=self.room,
            **facts,
        )
