"""Makes the executor that a configuration names. Ray is imported only if it is used."""

from __future__ import annotations

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.inline import Executor, InlineExecutor
from pegasus_ray.library.records.catalogue import Catalogue


def executor(catalogue: Catalogue, config: EngineConfig) -> Executor:
    """The executor that is to run jobs over a library, whose catalogue it keeps up.

    Raises:
        PegasusError: BAD_LIBRARY for a library in memory with Ray, whose workers are other processes and cannot see it.
    """
    if config.kind == "inline":
        return InlineExecutor(catalogue, config)
    from pegasus_ray.engine.ray_executor import RayExecutor

    return RayExecutor(catalogue, config)
