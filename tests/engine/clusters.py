"""Ray of its own for one test, clusters of several nodes on this machine, and jobs that keep a diary or fail as told."""

from __future__ import annotations

import errno
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from pegasus_ray.engine.cluster import connect
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.ray_executor import RayExecutor
from pegasus_ray.jobs.work import Event, Outcome
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Manifest
from pegasus_ray.schemas.progress import Progress
from tests.engine.fakes import FakeJob

ROOT = Path(__file__).parents[2]
CALL = """
import importlib, os, pickle, signal, sys, threading
def follow():
    sys.stdin.read()  # ends when the test's process does, however it ends
    os.killpg(0, signal.SIGKILL)
if __name__ == "__main__":
    threading.Thread(target=follow, daemon=True).start()
    with open(sys.argv[1], "rb") as file:
        module, name, arguments = pickle.load(file)
    answer = getattr(importlib.import_module(module), name)(*arguments)
    with open(sys.argv[2], "wb") as file:
        pickle.dump(answer, file)
"""


def apart(scenario: Callable[..., Any], *arguments: object, seconds: float = 200.0) -> Any:
    """What a function of a test module gives in a new process, which meets no other Ray and leaves none behind."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    with tempfile.TemporaryDirectory(prefix="pr", dir="/tmp", ignore_cleanup_errors=True) as folder:
        call, answer = Path(folder) / "call", Path(folder) / "answer"
        call.write_bytes(pickle.dumps((scenario.__module__, scenario.__name__, arguments)))
        process = subprocess.Popen(
            [sys.executable, "-c", CALL, str(call), str(answer)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            env=inherited | {"RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"},
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{scenario.__name__} takes longer than {seconds:g} seconds") from None
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert process.returncode == 0, f"{scenario.__name__} failed; its words are above"
        return pickle.loads(answer.read_bytes())


@contextmanager
def local(*, cpus: int) -> Iterator[None]:
    """A cluster of this machine alone."""
    with connect(cpus=cpus, gpus=0):
        yield


@contextmanager
def nodes(*cpus: int) -> Iterator[Cluster]:
    """A cluster of a head without CPUs, where the driver is, and of nodes with so many CPUs each."""
    impatient = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": impatient})
    try:
        for count in cpus:
            cluster.add_node(num_cpus=count)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What came of a run."""

    outcomes: Sequence[Outcome]  # in the order in which the jobs ended
    words: Sequence[str]  # what was said of waiting
    seconds: float

    def ends(self) -> Mapping[str, tuple[str, Reason | None]]:
        """How each job ended, by key."""
        return {outcome.key: (outcome.status, outcome.reason) for outcome in self.outcomes}


def run(
    folder: Path, jobs: Sequence[FakeJob], config: EngineConfig, *, on_event: Callable[[Event], None] | None = None
) -> Ran:
    """Run jobs on Ray, on a library in a folder."""
    words: list[str] = []

    def hear(event: Event) -> None:
        if not event.key:
            words.append(event.text)
        if on_event is not None:
            on_event(event)

    began = time.monotonic()
    outcomes = RayExecutor(Catalogue(Library(folder)), config).run(jobs, hear)
    return Ran(outcomes=outcomes, words=words, seconds=time.monotonic() - began)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One try at a job, as its diary tells of it."""

    key: str
    began: float  # by the clock of the machine, in seconds
    ended: float  # infinite if the try did not come to its end
    node: str
    process: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiaryJob(FakeJob):
    """A job that takes so many seconds and writes into a folder when it begins and ends, and where."""

    diary: str
    seconds: float = 0.2
    trouble: str = ""  # see `_fail`; a number before it says how many tries fail so, without one all do

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        node, tries = ray.get_runtime_context().get_node_id(), len(read_diary(self.diary, self.key))
        page = Path(self.diary) / f"{self.key}-{tries}"
        page.write_text(f"{time.monotonic()} {node} {os.getpid()}")
        times, _, trouble = self.trouble.rpartition(" times ")
        if trouble and tries < int(times or sys.maxsize):
            _fail(trouble, batch=self.batch)
        time.sleep(self.seconds)
        manifest = FakeJob.run(self, library, progress, scratch)
        page.with_suffix(".end").write_text(f"{time.monotonic()}")
        return manifest


def read_diary(folder: str | Path, key: str = "") -> list[Page]:
    """The tries at one job, or at all, in the order in which they began."""
    pages = []
    for path in Path(folder).glob(f"{key}*"):
        if path.suffix:
            continue
        began, node, process = path.read_text().split()
        end = path.with_suffix(".end")
        ended = float(end.read_text()) if end.exists() else float("inf")
        name = path.name.partition("-")[0]
        pages.append(Page(key=name, began=float(began), ended=ended, node=node, process=int(process)))
    return sorted(pages, key=lambda page: page.began)


def when(condition: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Do something, in a thread, as soon as a condition holds."""

    def watch() -> None:
        while not condition():
            time.sleep(0.05)
        then()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def _fail(trouble: str, *, batch: int) -> None:
    match trouble:
        case "bug":
            raise ZeroDivisionError("a bug")
        case "asset missing":
            raise PegasusError(Reason.ASSET_MISSING, "the model file is not here")
        case "disk full":
            raise OSError(errno.ENOSPC, "No space left on device")
        case "no video":
            raise PegasusError(Reason.NOT_A_VIDEO, "is no video; give an mp4")
        case "diverged":
            raise PegasusError(Reason.DIVERGED, "the loss is not a number")
        case "memory":
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes")
        case "memory for more than one" if batch > 1:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 99 bytes")
        case "memory for more than one":
            pass
        case "death":
            os._exit(1)
        case "sleep":
            time.sleep(3600)
        case _:
            raise AssertionError(trouble)
