"""The generative fit on Ray Train: one worker with its GPUs, checkpoints that survive it, resume by name.

The stage knows nothing of Ray: it writes checkpoints to a folder, and the newest is handed to Ray Train now and then,
which keeps it in the library's own storage. The next try, on this machine or another, has the same name and storage,
and goes on from there.
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
from pegasus_ray.engine.relay import posting, relay
from pegasus_ray.engine.schedule import Schedule
from pegasus_ray.jobs.work import Job, OnEvent, Outcome, attempt, failure
from pegasus_ray.library.library import CHECKPOINTS, Library
from pegasus_ray.schemas.errors import Reason

CHECKPOINT_EVERY = 20.0
"""Seconds between checkpoints handed to Ray Train, at least."""
KEPT = 2
"""Checkpoints that Ray Train keeps: the last, and the one before it in case the last was cut off."""


def run_on_train(jobs: Sequence[Job], library: Library, config: EngineConfig, on_event: OnEvent) -> list[Outcome]:
    """Run jobs one after another, each as a run of Ray Train."""
    schedule = Schedule(jobs, library, attempts=config.attempts, on_event=on_event)
    if schedule.finished():
        return schedule.outcomes
    with relay(on_event) as mailbox:
        while (tried := schedule.take()) is not None:
            schedule.settle(tried, _run(tried.job, tried.number, library, config, mailbox))
    return schedule.outcomes


def _run(job: Job, number: int, library: Library, config: EngineConfig, mailbox: Any) -> Outcome:
    began = time.monotonic()
    name = f"{job.stage}-{job.key}"
    trainer = TorchTrainer(
        _train,
        train_loop_config={"job": job, "number": number, "location": library.location, "mailbox": mailbox},
        scaling_config=ScalingConfig(
            num_workers=1,  # the stage is one process; its frames are a batch, not a shard
            use_gpu=config.gpus > 0,
            resources_per_worker={"CPU": config.cpus, **({"GPU": config.gpus} if config.gpus else {})},
            label_selector=config.labels,
        ),
        run_config=RunConfig(
            name=name,
            storage_path=f"{library.location}/{CHECKPOINTS}",
            failure_config=FailureConfig(max_failures=0),  # the driver counts; a node taken away does not
            checkpoint_config=CheckpointConfig(num_to_keep=KEPT),
            logging_config=LoggingConfig(log_level="ERROR"),
        ),
    )
    try:
        outcome: Outcome | None = trainer.fit().return_value
    except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
        text = " ".join(str(error).split())[:300]
        return failure(job, Reason.WORKER_DIED, f"the worker died: {text}", seconds=time.monotonic() - began)
    if outcome is None:
        return failure(job, Reason.INTERNAL, "Ray Train ended without an answer", seconds=time.monotonic() - began)
    if outcome.status != "failed":
        library.storage.remove_tree(f"{CHECKPOINTS}/{name}")
    return outcome


def _train(config: dict[str, Any]) -> Outcome:
    """What the worker does. It answers with an outcome: an error of the input is no reason for Ray to start again."""
    job: Job = config["job"]
    library = Library(config["location"])
    return attempt(job, library, posting(job, config["mailbox"]), number=config["number"], scratch=_scratch())


class _TrainScratch:
    """A folder of the worker's machine, handed to Ray Train whenever it has changed and some time has passed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handed = time.monotonic()
        self._state = _state(folder)

    def keep(self) -> None:
        """See `Scratch.keep`."""
        if time.monotonic() - self._handed < CHECKPOINT_EVERY or _state(self.folder) == self._state:
            return
        self._state = _state(self.folder)
        # A copy of its own: the stage goes on writing while Ray Train uploads.
        with tempfile.TemporaryDirectory(prefix="pegasus-") as copy:
            shutil.copytree(self.folder, copy, dirs_exist_ok=True)
            ray.train.report({"handed": time.time()}, checkpoint=Checkpoint.from_directory(copy))
        self._handed = time.monotonic()


@contextmanager
def _scratch() -> Iterator[_TrainScratch]:
    with tempfile.TemporaryDirectory(prefix="pegasus-") as folder:
        last = ray.train.get_checkpoint()
        if last is not None:
            last.to_directory(folder)
        yield _TrainScratch(Path(folder))


def _state(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.is_file()}
