"""One Ray cluster for all tests of a session that need one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pegasus_ray.engine.cluster import connect


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    with connect(cpus=4, gpus=0):
        yield
