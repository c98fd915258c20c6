"""Runs generative fits on Ray Train: one worker each, with checkpoints that outlive the worker's machine.

The stage does not know of Ray. It writes checkpoints to a folder, and from time to time the folder's content is handed to
Ray Train, which stores it in the library. The next try, on this machine or another, is a run of Ray Train with the same name
and storage, so that it resumes from there.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.relay import progress_by_post, relay_events
from pegasus_ray.engine.schedule import Schedule
from pegasus_ray.jobs.work import Job, OnEvent, Outcome, attempt, failed_outcome
from pegasus_ray.library.library import CHECKPOINTS, Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.errors import Reason

CHECKPOINT_SECONDS = 20.0
"""Least time between two checkpoints handed to Ray Train."""
CHECKPOINTS_KEPT = 2
"""Ray Train keeps the last checkpoint, and the one before in case writing the last was interrupted."""


def run_on_train(jobs: Sequence[Job], catalogue: Catalogue, config: EngineConfig, on_event: OnEvent) -> list[Outcome]:
    """Run jobs one after another, each as a run of Ray Train. See `Schedule` for further tries and quarantine."""
    schedule = Schedule(jobs, catalogue, attempts=config.attempts, on_event=on_event)
    if schedule.finished():
        return schedule.outcomes
    with relay_events(on_event) as events:
        while (tried := schedule.take()) is not None:
            schedule.record_outcome(tried, _run(tried.job, tried.number, catalogue.library, config, events))
    return schedule.outcomes


def _run(job: Job, number: int, library: Library, config: EngineConfig, events: Any) -> Outcome:
    """Run one try at a job as a run of Ray Train."""
    began = time.monotonic()
    name = f"{job.stage}-{job.key}"
    trainer = TorchTrainer(
        _run_in_worker,
        train_loop_config={"job": job, "number": number, "location": library.location, "events": events},
        scaling_config=ScalingConfig(
            num_workers=1,  # the stage is one process and does not split its frames over workers
            use_gpu=config.gpus > 0,
            resources_per_worker={"CPU": config.cpus, **({"GPU": config.gpus} if config.gpus else {})},
            label_selector=config.labels,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=f"{library.location}/{CHECKPOINTS}",
            failure_config=FailureConfig(max_failures=0),  # the driver counts tries and starts them
            checkpoint_config=CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        outcome: Outcome | None = trainer.fit().return_value
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())[:300]
        return failed_outcome(job, Reason.WORKER_DIED, f"the worker died: {text}", seconds=time.monotonic() - began)
    if outcome is None:
        return failed_outcome(
            job, Reason.INTERNAL, "Ray Train ended without an answer", seconds=time.monotonic() - began
        )
    if outcome.status != "failed":
        library.storage.remove_tree(f"{CHECKPOINTS}/{name}")
    return outcome


def _run_in_worker(config: dict[str, Any]) -> Outcome:
    """The function that Ray Train's worker calls. A failing job is returned as an outcome, so that Ray does not see an error."""
    job: Job = config["job"]
    library = Library(config["location"])
    return attempt(
        job, library, progress_by_post(job, config["events"]), number=config["number"], scratch=_train_scratch()
    )


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
