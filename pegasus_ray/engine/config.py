"""Where jobs run, inline or on Ray, with how many workers, and what each worker may use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pegasus_ray.schemas.errors import PegasusError, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Settings of the engine. They are not part of any key, because where a job runs does not change its result."""

    kind: Literal["inline", "ray"] = "ray"
    address: str | None = None  # of a running cluster; None starts one on this machine and stops it at the end
    workers: int = 0  # at once; 0: as many as the cluster has room for when the run begins
    cpus: float = 1.0  # logical CPUs that one worker reserves
    gpus: float = 0.0  # GPUs that one worker reserves; a fraction lets several fits share a GPU
    attempts: int = 3  # tries at a job whose worker dies, before it is quarantined
    spot: bool = True  # whether a worker may run on a node that can be taken away

    def __post_init__(self) -> None:
        if self.workers < 0 or self.cpus <= 0 or self.gpus < 0 or self.attempts < 1:
            message = "workers and gpus are 0 or more, cpus more than 0, attempts 1 or more"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="engine")
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise PegasusError(Reason.BAD_CONFIG, "gpus above 1 are whole numbers", subject="engine.gpus")

    @property
    def labels(self) -> dict[str, str] | None:
        """Ray's label selector for nodes that cannot be taken away; None if workers may run on any node."""
        return None if self.spot else {"ray.io/market-type": "!spot"}
