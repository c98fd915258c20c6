"""Runs generative fits on Ray Train: one worker each, side by side, with checkpoints that outlive the worker's machine.

The stage does not know of Ray. It writes checkpoints to a folder, and from time to time the folder's content is handed to
Ray Train, which stores it in the library. The next try, on this machine or another, is a run of Ray Train with the same name
and storage, so that it resumes from there.
"""

from __future__ import annotations

import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from pegasus_ray.engine.actors import outcome_of_error
from pegasus_ray.engine.cluster import worker_capacity
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.relay import progress_by_post
from pegasus_ray.engine.schedule import Ended, Schedule, Try
from pegasus_ray.jobs.work import Job, Outcome, attempt, describe_error, failed_outcome
from pegasus_ray.library.library import CHECKPOINTS, Library
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import Stage

CHECKPOINT_SECONDS = 20.0
"""Least time between two checkpoints handed to Ray Train."""
CHECKPOINTS_KEPT: Final = 2
"""Ray Train keeps the last checkpoint, and the one before in case writing the last was interrupted."""


class TrainLane:
    """Generative fits, each a run of Ray Train that a thread of the driver waits for.

    Args:
        config: how many at once, and what each asks for.
        library: takes the models and the checkpoints.
        events: the actor that passes progress on.
        heard: keys of the jobs that have told of their progress; it is kept up by the driver.
    """

    stages = frozenset({Stage.PERSONALIZE})

    def __init__(self, config: EngineConfig, library: Library, *, events: Any, heard: Collection[str]) -> None:
        self._config = config
        self._library = library
        self._events = events
        self._heard = heard
        self._demand = config.demand(Stage.PERSONALIZE)
        self._running: dict[str, threading.Thread] = {}  # by the key of the job
        self._ended: queue.Queue[Ended] = queue.Queue()

    @property
    def hungry(self) -> bool:
        """See `Lane.hungry`: no run has a worker yet."""
        return bool(self._running) and not any(key in self._heard for key in self._running)

    def pull(self, schedule: Schedule, *, give_way: bool) -> None:
        """See `Lane.pull`. A run that is begun waits for its room by itself."""
        if not schedule.ready(self.stages):
            return
        room = self._config.workers or worker_capacity(self._demand)
        while len(self._running) < room and (tried := schedule.take(self.stages)) is not None:
            key = tried.job.key
            # A daemon, since a run that is given up ends with Ray, which the driver shuts down.
            thread = threading.Thread(target=self._run, args=(tried,), name=f"train-{key}", daemon=True)
            self._running[key] = thread
            thread.start()

    def collect(self, seconds: float) -> Sequence[Ended]:
        """See `Lane.collect`."""
        ended = []
        try:
            ended.append(self._ended.get(timeout=seconds) if seconds else self._ended.get_nowait())
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        for end in ended:
            self._running.pop(end.tried.job.key, None)
        return ended

    def close(self) -> None:
        """See `Lane.close`. Runs end with the connection to Ray."""

    def _run(self, tried: Try) -> None:
        """Run one try at a job as a run of Ray Train."""
        preempted = False
        began = time.monotonic()
        try:
            outcome = self._outcome_of_run(tried.job, tried.number)
        except ray.train.TrainingFailedError as error:
            outcome, preempted = _outcome_of_failure(tried.job, error, time.monotonic() - began)
        except ray.exceptions.RayError as error:
            outcome, preempted = outcome_of_error(tried.job, error)
        except Exception as error:  # noqa: BLE001 - the driver must hear of every end
            outcome = failed_outcome(tried.job, *describe_error(error), seconds=time.monotonic() - began)
        self._ended.put(Ended(tried=tried, outcome=outcome, preempted=preempted))

    def _outcome_of_run(self, job: Job, number: int) -> Outcome:
        name = f"{job.stage}-{job.key}"
        demand = self._demand
        resources = {"CPU": demand.cpus, **({"GPU": demand.gpus} if demand.gpus else {})}
        resources |= {"memory": demand.memory} if demand.memory else {}
        trainer = TorchTrainer(
            _run_in_worker,
            train_loop_config={
                "job": job,
                "number": number,
                "location": self._library.location,
                "events": self._events,
            },
            scaling_config=ScalingConfig(
                num_workers=1,  # the stage is one process and does not split its frames over workers
                use_gpu=demand.gpus > 0,
                resources_per_worker=resources,
                label_selector=self._config.labels,
            ),
            run_config=RunConfig(
                name=name,
                storage_path=f"{self._library.location}/{CHECKPOINTS}",
                failure_config=FailureConfig(max_failures=0),  # the driver counts tries and starts them
                checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )
        outcome: Outcome | None = trainer.fit().return_value
        if outcome is None:
            return failed_outcome(job, Reason.INTERNAL, "Ray Train ended without an answer")
        if outcome.status != "failed":
            self._library.storage.remove_tree(f"{CHECKPOINTS}/{name}")
        return outcome


def _outcome_of_failure(job: Job, error: Exception, seconds: float) -> tuple[Outcome, bool]:
    """The outcome of a run that Ray Train gave up, by what its worker said, and whether its node was taken away."""
    failures = getattr(error, "worker_failures", None) or {0: getattr(error, "controller_failure", error)}
    cause = next(iter(failures.values()))
    if isinstance(cause, ray.exceptions.RayError):
        return outcome_of_error(job, cause)
    text = " ".join(str(cause).split())[-300:]  # the end of it says what went wrong
    return failed_outcome(job, Reason.WORKER_DIED, f"the worker died: {text}", seconds=seconds), False


def _run_in_worker(config: dict[str, Any]) -> Outcome:
    """The function that Ray Train's worker calls. A failing job is returned as an outcome, so that Ray does not see an error."""
    job: Job = config["job"]
    library = Library(config["location"])
    progress = progress_by_post(job, config["events"])
    progress(0.0, "begins")
    return attempt(job, library, progress, number=config["number"], scratch=_train_scratch())


class _TrainScratch:
    """A folder on the worker's machine, handed to Ray Train when it has changed and `CHECKPOINT_SECONDS` have passed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handed_at = time.monotonic()
        self._handed_times = _modification_times(folder)

    def keep(self) -> None:
        """See `Scratch.keep`."""
        if (
            time.monotonic() - self._handed_at < CHECKPOINT_SECONDS
            or _modification_times(self.folder) == self._handed_times
        ):
            return
        self._handed_times = _modification_times(self.folder)
        # Ray Train gets a copy, because the stage goes on writing while it uploads.
        with tempfile.TemporaryDirectory(prefix="pegasus-") as copy:
            shutil.copytree(self.folder, copy, dirs_exist_ok=True)
            ray.train.report({"handed": time.time()}, checkpoint=Checkpoint.from_directory(copy))
        self._handed_at = time.monotonic()


@contextmanager
def _train_scratch() -> Iterator[_TrainScratch]:
    """A temporary folder that holds the last checkpoint of Ray Train, if there is one."""
    with tempfile.TemporaryDirectory(prefix="pegasus-") as folder:
        last = ray.train.get_checkpoint()
        if last is not None:
            last.to_directory(folder)
        yield _TrainScratch(Path(folder))


def _modification_times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
