"""Fixtures of the library's tests: an S3 on this machine and a new bucket in it; and property tests without a time limit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import fsspec
import pytest
from hypothesis import HealthCheck, settings

from tests.library.s3_server import S3Server, running_s3

settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")  # so that they do not fail on a busy machine

_bucket_numbers = count()


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running_s3() as server:
        yield server


@pytest.fixture
def bucket(server: S3Server) -> str:
    """The name of a new bucket."""
    name = f"bucket-{next(_bucket_numbers)}"
    fsspec.filesystem("s3").mkdir(name)
    return name
