"""Connects to Ray: to a running cluster, or to one started on this machine for as long as the work takes."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray

from pegasus_ray.engine.config import Demand
from pegasus_ray.schemas.errors import PegasusError, Reason

OBJECT_STORE_BYTES = 150 * 2**20
"""Shared memory of a local cluster. Little is needed: results go to the library, only jobs and outcomes pass through Ray."""
MIN_LOCAL_CPUS = 4
"""Least number of logical CPUs of a local cluster.

Ray Data and Ray Train run controllers beside their workers; with two logical CPUs they were seen to hang.
"""


@contextmanager
def connect(address: str | None = None, *, cpus: int | None = None, gpus: int | None = None) -> Iterator[None]:
    """Connect to Ray while the body runs.

    Args:
        address: of a running cluster (`auto`, `host:port`, `ray://…`); None starts one here. If this process is connected
            already, that connection is used as it is, and left open.
        cpus: logical CPUs of a local cluster; by default those of the machine, at least `MIN_LOCAL_CPUS`.
        gpus: GPUs of a local cluster; by default those of the machine.

    Raises:
        PegasusError: BAD_CONFIG if there is no cluster at the address.
    """
    if ray.is_initialized():
        yield
        return
    on_terminate = signal.getsignal(signal.SIGTERM)
    logging_options = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would send usage statistics to its makers
    try:
        if address is None:
            ray.init(
                address="local",  # not one that somebody has started on this machine, or named in RAY_ADDRESS
                num_cpus=cpus or max(MIN_LOCAL_CPUS, os.cpu_count() or 1),
                num_gpus=gpus,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                **logging_options,
            )
        else:
            ray.init(address=address, **logging_options)
    except (ConnectionError, RuntimeError, ValueError) as error:
        message = f"Ray cannot be reached ({error}); check --address, or leave it out, or use --engine inline"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=address or "ray") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray has put its own in this place, which aborts
    try:
        yield
    finally:
        ray.shutdown()


def worker_capacity(demand: Demand) -> int:
    """How many workers the cluster's present nodes have room for; at least one, which may have to wait for a node to join."""
    total = ray.cluster_resources()
    # One logical CPU is kept for the controllers of Ray Data and Ray Train.
    by_cpu = (total.get("CPU", 1.0) - 1.0) / demand.cpus
    by_gpu = total.get("GPU", 0.0) / demand.gpus if demand.gpus else by_cpu
    by_memory = total.get("memory", 0.0) / demand.memory if demand.memory else by_cpu
    return max(1, int(min(by_cpu, by_gpu, by_memory)))
