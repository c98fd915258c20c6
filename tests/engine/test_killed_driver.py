"""Invariant: after a driver was killed, the same command makes what is missing and nothing that is there already."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pegasus_ray.engine.inline import InlineExecutor
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.verify import verify
from pegasus_ray.schemas.manifests import Kind, Stage
from tests.engine.fakes import FakeJob, key, status

JOBS = tuple(FakeJob(key=key(number), behaviour="slow") for number in range(6))

DRIVER = """
import sys
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.executor import executor
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from tests.engine.test_killed_driver import JOBS
if __name__ == "__main__":
    executor(Catalogue(Library(sys.argv[1])), EngineConfig(kind=sys.argv[2], workers=1)).run(JOBS, lambda event: None)
"""


def made(library: Library) -> list[str]:
    return [entry.key for entry in Catalogue(library).entries(Kind.AVATARS)]


@pytest.mark.parametrize("engine", ["inline", pytest.param("ray", marks=pytest.mark.slow)])
def test_the_same_command_completes_what_a_killed_one_began(tmp_path: Path, engine: str) -> None:
    library = Library(tmp_path)
    root = str(Path(__file__).parents[2])
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path), engine], cwd=root)
    deadline = time.monotonic() + 120
    while len(made(library)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(0.0 if engine == "inline" else 5.0)  # Ray's workers follow their driver
    stood = made(library)
    assert 2 <= len(stood) < len(JOBS)
    assert verify(library).bad == ()
    counts = status(library)[Stage.FIT]
    assert counts.done + counts.running + counts.waiting == len(JOBS)
    outcomes = {
        outcome.key: outcome.status for outcome in InlineExecutor(Catalogue(library)).run(JOBS, lambda event: None)
    }
    assert {name for name, how in outcomes.items() if how == "skipped"} == set(stood)
    assert made(library) == [job.key for job in JOBS]
    assert status(library)[Stage.FIT].done == len(JOBS)
