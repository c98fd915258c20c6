"""Swaps on Ray Data: the plan's rows are shards, spread over a pool of actors that commit each by itself.

Ray Data carries rows and statuses, never pictures. It may run a row twice (after a worker's death, say): a shard that
is there is not made again, and one that has cost several workers their life is given up, or it would be tried for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import ray
import ray.data

from pegasus_ray.engine.cluster import room_for
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.jobs.work import (
    Event,
    Job,
    OnEvent,
    Outcome,
    ShardedJob,
    explain,
    failure,
    item_of,
    made,
    set_aside,
    set_threads,
    settled,
)
from pegasus_ray.library.ledger import LEDGER, Attempt, write_plan
from pegasus_ray.library.library import Library
from pegasus_ray.library.shards import Shard, missing_shards
from pegasus_ray.schemas.errors import PegasusError, Reason

_Rows = dict[str, np.ndarray]


class ShardMaker:
    """What one actor of the pool does: rows of the plan in, their statuses out."""

    def __init__(self, location: str, run: str, jobs: Mapping[str, Job], attempts: int) -> None:
        self._library = Library(location)
        self._run = run
        self._jobs = jobs
        self._attempts = attempts

    def __call__(self, rows: _Rows) -> _Rows:
        """Rows of the plan to rows of status.

        Rows in have `swap` and `frames` (comma-separated); rows out `swap`, `reason` and `message`, both empty if all
        is well.
        """
        found = [self._row(str(swap), str(frames)) for swap, frames in zip(rows["swap"], rows["frames"], strict=True)]
        reasons, messages = zip(*found, strict=True)
        return {"swap": rows["swap"], "reason": np.array(reasons, object), "message": np.array(messages, object)}

    def _row(self, swap: str, frames: str) -> tuple[str, str]:
        shard = Shard(swap=swap, frames=tuple(int(frame) for frame in frames.split(",")))
        job = self._jobs[swap]
        if not missing_shards(self._library, [shard]):
            return "", ""
        if not self._claim(shard):
            return Reason.WORKER_DIED, f"shard {shard.name} has ended {self._attempts} workers"
        set_threads(job)
        try:
            _sharded(job).make(self._library, shard)
        except Exception as error:  # noqa: BLE001 - one bad shard must not end the run; its status row says what it was
            return explain(error)
        finally:
            self._release(shard)
        return "", ""

    def _claim(self, shard: Shard) -> bool:
        """Leave a mark that only a worker's death leaves behind. False if there are too many."""
        numbers = range(self._attempts)
        return any(self._library.storage.create(self._mark(shard, number), b"") for number in numbers)

    def _release(self, shard: Shard) -> None:
        for number in range(self._attempts):
            self._library.storage.remove(self._mark(shard, number))

    def _mark(self, shard: Shard, number: int) -> str:
        return f"{_marks(self._run)}/{shard.name}.{number}"


def run_on_data(
    jobs: Sequence[Job], library: Library, config: EngineConfig, on_event: OnEvent, *, run: str
) -> list[Outcome]:
    """Make the shards of all swaps on a pool of actors, then seal each swap whose shards are all there.

    Args:
        jobs: each a `ShardedJob`.
        library: where the inputs are and the shards go.
        config: resources of an actor, number of actors.
        on_event: told how far each swap is.
        run: a name for this run, for the marks of dead workers.
    """
    outcomes = [outcome for outcome in (settled(job, library) for job in jobs) if outcome is not None]
    known = {outcome.key for outcome in outcomes}
    todo = {job.key: job for job in jobs if job.key not in known}
    write_plan(library, [item_of(job) for job in todo.values()])
    attempts = {key: Attempt(library, item_of(job)) for key, job in todo.items()}
    plans, lost = _plans(todo, library)
    outcomes += lost.values()
    rows = [
        {"swap": shard.swap, "frames": ",".join(map(str, shard.frames))}
        for shards in plans.values()
        for shard in missing_shards(library, shards)
    ]
    try:
        failed = _fan_out(rows, todo, attempts, library, config, on_event, run) if rows else {}
    finally:
        library.storage.remove_tree(_marks(run))
    outcomes += [_seal(todo[key], library, failed.get(key), attempts[key]) for key in plans]
    for outcome in outcomes:
        if outcome.status == "failed" and outcome.key in attempts:
            _write_down(outcome, attempts[outcome.key], library, todo[outcome.key])
        event = Event(stage=outcome.stage, key=outcome.key, subject=outcome.subject, share=1.0, outcome=outcome)
        on_event(event)
    return outcomes


def _plans(jobs: Mapping[str, Job], library: Library) -> tuple[dict[str, Sequence[Shard]], dict[str, Outcome]]:
    """The shards of each job, and the outcomes of those that have no plan because an input is missing."""
    plans: dict[str, Sequence[Shard]] = {}
    lost: dict[str, Outcome] = {}
    for key, job in jobs.items():
        try:
            plans[key] = _sharded(job).shards(library)
        except PegasusError as error:
            lost[key] = failure(job, error.reason, error.message)
    return plans, lost


def _fan_out(
    rows: Sequence[dict[str, str]],
    jobs: Mapping[str, Job],
    attempts: Mapping[str, Attempt],
    library: Library,
    config: EngineConfig,
    on_event: OnEvent,
    run: str,
) -> dict[str, tuple[Reason, str]]:
    """Why swaps failed, by key; the first reason of each."""
    _be_quiet()
    size = min(config.workers or room_for(config.cpus, config.gpus), len(rows))
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
    planned = {key: sum(row["swap"] == key for row in rows) for key in jobs}
    try:
        for row in dataset.iter_rows():
            key = str(row["swap"])
            ended[key] += 1
            attempts[key].beat()
            if row["reason"]:
                failed.setdefault(key, (Reason(row["reason"]), str(row["message"])))
            job, text = jobs[key], f"{ended[key]} of {planned[key]} shards"
            on_event(Event(stage=job.stage, key=key, subject=job.subject, share=ended[key] / planned[key], text=text))
    except ray.exceptions.RayError as error:
        # Ray gave up on the whole; what was committed stays, and the swaps that lack a shard say so.
        for key in (key for key in jobs if ended[key] < planned[key]):
            failed.setdefault(key, (Reason.WORKER_DIED, f"Ray Data ended early: {type(error).__name__}"))
    return failed


def _be_quiet() -> None:
    """Our own progress is enough."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _seal(job: Job, library: Library, failed: tuple[Reason, str] | None, attempt: Attempt) -> Outcome:
    if failed is not None:
        return failure(job, *failed, seconds=attempt.seconds)
    try:
        summary = _sharded(job).seal(library)
    except PegasusError as error:
        return failure(job, error.reason, error.message, seconds=attempt.seconds)
    attempt.done()
    return made(job, summary, seconds=attempt.seconds)


def _write_down(outcome: Outcome, attempt: Attempt, library: Library, job: Job) -> None:
    reason = outcome.reason or Reason.INTERNAL
    attempt.failed(reason, outcome.message)
    if reason in (Reason.WORKER_DIED, Reason.OUT_OF_MEMORY):
        set_aside(library, job, outcome, number=attempt.number)


def _sharded(job: Job) -> ShardedJob:
    if not isinstance(job, ShardedJob):
        raise PegasusError(Reason.INTERNAL, f"{type(job).__name__} has no shards", subject=job.subject)
    return job


def _marks(run: str) -> str:
    return f"{LEDGER}/marks-{run}"
