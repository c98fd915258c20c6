"""Runs swaps on Ray Data: each row is one shard of a swap, and a pool of actors makes and commits the shards.

Rows and statuses pass through Ray Data, never pictures. Ray Data may run a row again, for instance after a worker's death.
Therefore a shard that is there is not made again, and a shard during which several workers have died is given up, because
Ray Data would try it for ever.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import ray
import ray.data

from pegasus_ray.engine.cluster import worker_capacity
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.jobs.work import (
    Job,
    OnEvent,
    Outcome,
    ShardedJob,
    describe_error,
    done_outcome,
    end_event,
    failed_outcome,
    outcome_before_run,
    planned_item,
    progress_event,
    quarantine,
    set_threads,
)
from pegasus_ray.library.ledger import LEDGER, MARKS_PREFIX, Attempt, LastEvents, write_plan
from pegasus_ray.library.library import Library
from pegasus_ray.library.shards import Shard, missing_shards
from pegasus_ray.schemas.errors import PegasusError, Reason

_Rows = dict[str, np.ndarray]


class ShardMaker:
    """What each actor of the pool runs: makes the shards of the rows it gets and returns their statuses."""

    def __init__(self, location: str, run: str, jobs: Mapping[str, Job], attempts: int) -> None:
        self._library = Library(location)
        self._run = run
        self._jobs = jobs
        self._attempts = attempts

    def __call__(self, rows: _Rows) -> _Rows:
        """Make the shards of some rows.

        The rows given have the columns `swap` and `frames` (comma-separated). The rows returned have `swap`, `reason` and
        `message`; the last two are empty if the shard is there.
        """
        found = [self._make(str(swap), str(frames)) for swap, frames in zip(rows["swap"], rows["frames"], strict=True)]
        reasons, messages = zip(*found, strict=True)
        return {"swap": rows["swap"], "reason": np.array(reasons, object), "message": np.array(messages, object)}

    def _make(self, swap: str, frames: str) -> tuple[str, str]:
        """Make one shard unless it is there; reason and message of its failure, or two empty texts."""
        shard = Shard(swap=swap, frames=tuple(int(frame) for frame in frames.split(",")))
        job = self._jobs[swap]
        try:
            if not missing_shards(self._library, [shard]):
                return "", ""
            if not self._leave_mark(shard):
                return Reason.WORKER_DIED, f"shard {shard.name} has ended {self._attempts} workers"
            set_threads(job)
            try:
                _as_sharded(job).make(self._library, shard)
            finally:
                self._remove_marks(shard)
        except Exception as error:  # noqa: BLE001 - one bad shard or request must not end the run; its row names the error
            return describe_error(error)
        return "", ""

    def _leave_mark(self, shard: Shard) -> bool:
        """Create a mark that stays if the worker dies before `_remove_marks`; False if there is one for each try already."""
        numbers = range(self._attempts)
        return any(self._library.create(self._mark(shard, number), b"") for number in numbers)

    def _remove_marks(self, shard: Shard) -> None:
        """Remove the shard's marks; one that cannot be removed costs a later try at the shard, and no more."""
        for number in range(self._attempts):
            with suppress(PegasusError, OSError):
                self._library.storage.remove(self._mark(shard, number))

    def _mark(self, shard: Shard, number: int) -> str:
        return f"{_marks_folder(self._run)}/{shard.name}.{number}"


def run_on_data(
    jobs: Sequence[Job], library: Library, config: EngineConfig, on_event: OnEvent, *, run: str
) -> list[Outcome]:
    """Make the missing shards of all swaps on a pool of actors, then seal each swap whose shards are all there.

    Args:
        jobs: each a `ShardedJob`.
        library: holds the inputs and takes the shards.
        config: number of actors, resources of each, tries at a shard.
        on_event: told how far each swap is.
        run: a name for this run; the marks that dead workers leave are kept under it.
    """
    events = LastEvents(library)
    outcomes = [found for found in (outcome_before_run(job, library, events) for job in jobs) if found is not None]
    known = {outcome.key for outcome in outcomes}
    todo = {job.key: job for job in jobs if job.key not in known}
    write_plan(library, [planned_item(job) for job in todo.values()])
    attempts = {key: Attempt(library, planned_item(job)) for key, job in todo.items()}
    shards_of, unplanned = _plan_shards(todo, library)
    outcomes += unplanned.values()
    rows = [
        {"swap": shard.swap, "frames": ",".join(map(str, shard.frames))}
        for shards in shards_of.values()
        for shard in missing_shards(library, shards)
    ]
    try:
        failed = _make_shards(rows, todo, attempts, library, config, on_event, run) if rows else {}
    finally:
        library.storage.remove_tree(_marks_folder(run))
    outcomes += [_seal(todo[key], library, failed.get(key), attempts[key]) for key in shards_of]
    for outcome in outcomes:
        if outcome.status == "failed" and outcome.key in attempts:
            _record_failure(outcome, attempts[outcome.key], library, todo[outcome.key])
        on_event(end_event(outcome))
    return outcomes


def _plan_shards(jobs: Mapping[str, Job], library: Library) -> tuple[dict[str, Sequence[Shard]], dict[str, Outcome]]:
    """The shards of each job, and the outcomes of jobs that cannot be planned because an input is missing."""
    shards_of: dict[str, Sequence[Shard]] = {}
    unplanned: dict[str, Outcome] = {}
    for key, job in jobs.items():
        try:
            shards_of[key] = _as_sharded(job).shards(library)
        except PegasusError as error:
            unplanned[key] = failed_outcome(job, error.reason, error.message)
    return shards_of, unplanned


def _make_shards(
    rows: Sequence[dict[str, str]],
    jobs: Mapping[str, Job],
    attempts: Mapping[str, Attempt],
    library: Library,
    config: EngineConfig,
    on_event: OnEvent,
    run: str,
) -> dict[str, tuple[Reason, str]]:
    """Make the shards of all rows; the answer is the first failure of each swap that has one, by key."""
    _silence_ray_data()
    size = min(config.workers or worker_capacity(config.cpus, config.gpus), len(rows))
    dataset = ray.data.from_items(list(rows), override_num_blocks=len(rows)).map_batches(
        ShardMaker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size),
        num_cpus=config.cpus,
        num_gpus=config.gpus or None,
        label_selector=config.labels,
        fn_constructor_kwargs={
            "location": library.location,
            "run": run,
            "jobs": dict(jobs),
            "attempts": config.attempts,
        },
    )
    failed: dict[str, tuple[Reason, str]] = {}
    ended = dict.fromkeys(jobs, 0)
    planned = Counter(row["swap"] for row in rows)
    try:
        for row in dataset.iter_rows():
            key = str(row["swap"])
            ended[key] += 1
            attempts[key].beat()
            if row["reason"]:
                failed.setdefault(key, (Reason(row["reason"]), str(row["message"])))
            text = f"{ended[key]} of {planned[key]} shards"
            on_event(progress_event(jobs[key], ended[key] / planned[key], text))
    except ray.exceptions.RayError as error:
        # Ray Data ended the whole run. Committed shards stay; each swap that still lacks a shard is reported as failed. It is no
        # swap's own fault, so none is quarantined, and the next run goes on.
        for key in (key for key in jobs if ended[key] < planned[key]):
            failed.setdefault(
                key, (Reason.INTERNAL, f"Ray Data ended early ({type(error).__name__}); run the command again")
            )
    return failed


def _silence_ray_data() -> None:
    """Turn off the progress bars and messages of Ray Data: the command shows its own progress."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _seal(job: Job, library: Library, failed: tuple[Reason, str] | None, attempt: Attempt) -> Outcome:
    """Write the swap's manifest, unless one of its shards failed."""
    if failed is not None:
        return failed_outcome(job, *failed, seconds=attempt.seconds)
    try:
        summary = _as_sharded(job).seal(library)
    except PegasusError as error:
        return failed_outcome(job, error.reason, error.message, seconds=attempt.seconds)
    attempt.done()
    return done_outcome(job, summary, seconds=attempt.seconds)


def _record_failure(outcome: Outcome, attempt: Attempt, library: Library, job: Job) -> None:
    """Record a failed swap in the ledger, and quarantine it if its workers died or ran out of memory."""
    reason = outcome.reason or Reason.INTERNAL
    attempt.failed(reason, outcome.message)
    if reason in (Reason.WORKER_DIED, Reason.OUT_OF_MEMORY):
        quarantine(library, job, outcome, number=attempt.number)


def _as_sharded(job: Job) -> ShardedJob:
    if not isinstance(job, ShardedJob):
        raise PegasusError(Reason.INTERNAL, f"{type(job).__name__} has no shards", subject=job.subject)
    return job


def _marks_folder(run: str) -> str:
    return f"{LEDGER}/{MARKS_PREFIX}{run}"
