"""Where jobs run, inline or on Ray, with how many workers, and what each worker may use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage

USES_GPU: Final = (Stage.FIT,)
"""Stages that compute on a GPU where there is one; a worker of any other stage reserves none and is shown none."""
WITHOUT_TIMEOUT: Final = (Stage.SWAP, Stage.PERSONALIZE)
"""Stages whose tries cannot be ended by time so far: Ray Data and Ray Train carry them, and not the driver's own actors."""
GIB: Final = 1 << 30


class Demand(NamedTuple):
    """What one worker reserves. Workers with the same demand serve all stages that have it."""

    cpus: float
    gpus: float
    memory: int  # bytes; 0: nothing is reserved

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPUs"]
        parts += [f"{self.gpus:g} GPUs"] if self.gpus else []
        parts += [f"{self.memory / GIB:.1f} GiB"] if self.memory else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageConfig:
    """What one stage asks for; 0 leaves what the engine gives to all."""

    cpus: float = 0.0  # logical CPUs that one worker reserves
    gpus: float = 0.0  # GPUs that one worker reserves, where the stage uses one
    memory_gib: float = 0.0  # that one worker reserves
    timeout_minutes: float = 0.0  # after which a try is ended, and made again elsewhere; 0: never

    def __post_init__(self) -> None:
        if min(self.cpus, self.gpus, self.memory_gib, self.timeout_minutes) < 0:
            raise PegasusError(Reason.BAD_CONFIG, "what a stage asks for is 0 or more", subject="engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of the engine. They are not part of any key, because where a job runs does not change its result."""

    kind: Literal["inline", "ray"] = "ray"
    address: str | None = None  # of a running cluster; None starts one on this machine and stops it at the end
    workers: int = 0  # of one kind at once; 0: as many as the cluster has room for
    cpus: float = 1.0  # logical CPUs that one worker reserves
    gpus: float = 0.0  # GPUs that a fit reserves; a fraction lets several fits share a GPU
    attempts: int = 3  # tries at a job whose worker dies, before it is quarantined
    spot: bool = True  # whether a worker may run on a node that can be taken away
    patience_minutes: float = 15.0  # how long jobs wait on a cluster where no node can hold them
    track: StageConfig = field(default_factory=StageConfig)
    fit: StageConfig = field(default_factory=StageConfig)
    swap: StageConfig = field(default_factory=StageConfig)
    personalize: StageConfig = field(default_factory=StageConfig)
    transfer: StageConfig = field(default_factory=StageConfig)

    def __post_init__(self) -> None:
        if self.workers < 0 or self.cpus <= 0 or self.gpus < 0 or self.attempts < 1 or self.patience_minutes < 0:
            message = "workers, gpus and patience_minutes are 0 or more, cpus more than 0, attempts 1 or more"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="engine")
        for stage in Stage:
            gpus = self.demand(stage).gpus
            if gpus > 1 and gpus != int(gpus):
                raise PegasusError(Reason.BAD_CONFIG, "gpus above 1 are whole numbers", subject="engine.gpus")
            if stage in WITHOUT_TIMEOUT and self.of(stage).timeout_minutes:
                message = "this stage has no timeout so far; leave the setting out"
                raise PegasusError(Reason.BAD_CONFIG, message, subject=f"engine.{stage}.timeout_minutes")

    def of(self, stage: Stage) -> StageConfig:
        """What a stage asks for, as it is set."""
        found: StageConfig = getattr(self, stage.value)
        return found

    def demand(self, stage: Stage) -> Demand:
        """What one worker of a stage reserves."""
        own = self.of(stage)
        gpus = (own.gpus or self.gpus) if stage in USES_GPU else 0.0
        return Demand(cpus=own.cpus or self.cpus, gpus=gpus, memory=int(own.memory_gib * GIB))

    @property
    def labels(self) -> dict[str, str] | None:
        """Ray's label selector for nodes that cannot be taken away; None if workers may run on any node."""
        return None if self.spot else {"ray.io/market-type": "!spot"}
