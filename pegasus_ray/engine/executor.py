"""Makes the executor that a configuration names. Ray is imported only if it is used."""

from __future__ import annotations

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.inline import Executor, InlineExecutor
from pegasus_ray.library.library import Library


def executor(library: Library, config: EngineConfig) -> Executor:
    """The executor that is to run jobs over a library.

    Raises:
        PegasusError: BAD_LIBRARY for a library in memory with Ray, whose workers are other processes and cannot see it.
    """
    if config.kind == "inline":
        return InlineExecutor(library, config)
    from pegasus_ray.engine.ray_executor import RayExecutor

    return RayExecutor(library, config)
