"""The Ray cluster: one that runs already, or a small one on this machine for as long as the work takes."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pegasus_ray.schemas.errors import PegasusError, Reason

OBJECT_STORE = 150 * 2**20
"""Bytes of shared memory of a local cluster: results go to the library, only plans and statuses pass through Ray."""
FEWEST_CPUS = 4
"""Ray Data and Ray Train keep controllers beside their workers; with two logical CPUs they were seen to hang."""


@contextmanager
def connect(address: str | None = None, *, cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray while the body runs.

    Args:
        address: of a running cluster (`auto`, `host:port`, `ray://…`); None starts one here. A connection that is there
            already is used as it is, and left open.
        cpus: logical CPUs of a local cluster; by default those of the machine, at least `FEWEST_CPUS`.
        gpus: of a local cluster; by default those of the machine.

    Raises:
        PegasusError: BAD_CONFIG if there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine unasked
    try:
        if address is None:
            ray.init(
                num_cpus=cpus or max(FEWEST_CPUS, os.cpu_count() or 1),
                num_gpus=gpus,
                object_store_memory=OBJECT_STORE,
                include_dashboard=False,
                **quiet,
            )
        else:
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        message = f"Ray cannot be reached ({error}); check --address, or leave it out, or use --engine inline"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=address or "ray") from error
    try:
        yield
    finally:
        ray.shutdown()


def room_for(cpus: float, gpus: float) -> int:
    """How many workers of that size the cluster has room for now; one at least, which may wait for a node."""
    free = ray.cluster_resources()
    # A logical CPU stays free for the controllers of Ray Data and Ray Train.
    by_cpu = (free.get("CPU", 1.0) - 1.0) / cpus
    by_gpu = free.get("GPU", 0.0) / gpus if gpus else by_cpu
    return max(1, int(min(by_cpu, by_gpu)))
