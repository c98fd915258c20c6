"""Runs swaps on Ray Data: each row is one shard of a swap, and a pool of actors makes and commits the shards.

Rows and statuses pass through Ray Data, never pictures. Ray Data may run a row again, for instance after a worker's death.
Therefore a shard that is there is not made again, and a shard during which several workers have died is given up, because
Ray Data would try it for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

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
    end_event,
    failed_outcome,
    made_outcome,
    outcome_before_run,
    planned_item,
    progress_event,
    quarantine,
    set_threads,
)
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import LEDGER, MARKS_PREFIX, Attempt, write_plan
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.library.shards import Shard, ShardReport, find_shard
from pegasus_ray.schemas.errors import PegasusError, Reason

_Rows = dict[str, np.ndarray]
_TOLD: Final = ("report", "reason", "message")  # what a worker tells about a shard


class ShardMaker:
    """What each actor of the pool runs: makes the shards of the rows it gets and returns their statuses."""

    def __init__(self, location: str, run: str, jobs: Mapping[str, Job], attempts: int) -> None:
        self._library = Library(location)
        self._run = run
        self._jobs = jobs
        self._attempts = attempts

    def __call__(self, rows: _Rows) -> _Rows:
        """Make the shards of some rows.

        The rows given have the columns `swap` and `frames` (comma-separated). The rows returned have `swap`, `report` (see
        `ShardReport`), `reason` and `message`; the last two are empty if the shard is there.
        """
        found = [self._make(str(swap), str(frames)) for swap, frames in zip(rows["swap"], rows["frames"], strict=True)]
        columns = zip(*found, strict=True)
        told = {name: np.array(texts, object) for name, texts in zip(_TOLD, columns, strict=True)}
        return {"swap": rows["swap"], **told}

    def _make(self, swap: str, frames: str) -> tuple[str, str, str]:
        """Make one shard unless it is there; its report, and reason and message of its failure."""
        shard = Shard(swap=swap, frames=tuple(int(frame) for frame in frames.split(",")))
        job = self._jobs[swap]
        try:
            report = find_shard(self._library, shard)
            if report is not None:
                return report.to_json(), "", ""
            marks = self._leave_mark(shard)
            if not marks:
                return "", Reason.WORKER_DIED, f"shard {shard.name} has ended {self._attempts} workers"
            set_threads(job)
            try:
                report = _as_sharded(job).make(self._library, shard)
            finally:
                self._remove_marks(shard, marks)
        except Exception as error:  # noqa: BLE001 - one bad shard or request must not end the run; its row names the error
            return "", *describe_error(error)
        return report.to_json(), "", ""

    def _leave_mark(self, shard: Shard) -> int:
        """Create a mark that stays if the worker dies before `_remove_marks`.

        Returns:
            how many marks the shard has now; 0 if there is one for each try already.
        """
        numbers = range(self._attempts)
        return next((n + 1 for n in numbers if self._library.create(self._mark(shard, n), b"")), 0)

    def _remove_marks(self, shard: Shard, count: int) -> None:
        """Remove the shard's marks; one that cannot be removed costs a later try at the shard, and no more."""
        for number in range(count):
            with suppress(PegasusError, OSError):
                self._library.storage.remove(self._mark(shard, number))

    def _mark(self, shard: Shard, number: int) -> str:
        return f"{_marks_folder(self._run)}/{shard.name}.{number}"


@dataclass(slots=True, kw_only=True)
class _Swap:
    """A swap of this run, and what the workers have told about its shards."""

    job: Job
    attempt: Attempt
    shards: Sequence[Shard]
    ended: int = 0  # shards that were made or failed
    reports: list[ShardReport] = field(default_factory=list)
    failure: tuple[Reason, str] | None = None  # the first


def run_on_data(
    jobs: Sequence[Job], catalogue: Catalogue, config: EngineConfig, on_event: OnEvent, *, run: str
) -> list[Outcome]:
    """Make the missing shards of all swaps on a pool of actors, then seal each swap whose shards are all there.

    The workers look which shards are there and report on all of them, so that the driver reads none.

    Args:
        jobs: each a `ShardedJob`.
        catalogue: of the library that holds the inputs and takes the shards.
        config: number of actors, resources of each, tries at a shard.
        on_event: told how far each swap is.
        run: a name for this run; the marks that dead workers leave are kept under it.
    """
    library, ledger = catalogue.library, Ledger(catalogue.library)
    outcomes = [found for found in (outcome_before_run(job, catalogue, ledger) for job in jobs) if found is not None]
    known = {outcome.key for outcome in outcomes}
    todo = {job.key: job for job in jobs if job.key not in known}
    write_plan(library, [planned_item(job) for job in todo.values()])
    attempts = {key: Attempt(library, planned_item(job)) for key, job in todo.items()}
    shards_of, unplanned = _plan_shards(todo, library)
    outcomes += unplanned.values()
    swaps = {key: _Swap(job=todo[key], attempt=attempts[key], shards=shards) for key, shards in shards_of.items()}
    try:
        if swaps:
            _make_shards(swaps, library, config, on_event, run)
    finally:
        library.storage.remove_tree(_marks_folder(run))
    outcomes += [_seal(swap, library) for swap in swaps.values()]
    for outcome in outcomes:
        if outcome.status == "failed" and outcome.key in attempts:
            _record_failure(outcome, attempts[outcome.key], library, todo[outcome.key])
        if outcome.entry is not None:
            catalogue.add(outcome.entry)
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
    swaps: Mapping[str, _Swap], library: Library, config: EngineConfig, on_event: OnEvent, run: str
) -> None:
    """Have the shards of all swaps made, and note what the workers tell."""
    _silence_ray_data()
    rows = [
        {"swap": key, "frames": ",".join(map(str, shard.frames))}
        for key, swap in swaps.items()
        for shard in swap.shards
    ]
    size = min(config.workers or worker_capacity(config.cpus, config.gpus), len(rows))
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        ShardMaker,
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=size),
        num_cpus=config.cpus,
        num_gpus=config.gpus or None,
        label_selector=config.labels,
        fn_constructor_kwargs={
            "location": library.location,
            "run": run,
            "jobs": {key: swap.job for key, swap in swaps.items()},
            "attempts": config.attempts,
        },
    )
    try:
        for row in dataset.iter_rows():
            swap = swaps[str(row["swap"])]
            swap.ended += 1
            swap.attempt.beat()
            if row["reason"]:
                swap.failure = swap.failure or (Reason(row["reason"]), str(row["message"]))
            else:
                swap.reports.append(ShardReport.from_json(str(row["report"])))
            share = swap.ended / len(swap.shards)
            on_event(progress_event(swap.job, share, f"{swap.ended} of {len(swap.shards)} shards"))
    except ray.exceptions.RayError as error:
        # Ray Data ended the whole run. Committed shards stay; each swap that still lacks a shard is reported as failed. It is no
        # swap's own fault, so none is quarantined, and the next run goes on.
        message = f"Ray Data ended early ({type(error).__name__}); run the command again"
        for swap in swaps.values():
            if swap.ended < len(swap.shards):
                swap.failure = swap.failure or (Reason.INTERNAL, message)


def _silence_ray_data() -> None:
    """Turn off the progress bars and messages of Ray Data: the command shows its own progress."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _seal(swap: _Swap, library: Library) -> Outcome:
    """Write the swap's manifest, unless one of its shards failed."""
    seconds = swap.attempt.seconds
    if swap.failure is not None:
        return failed_outcome(swap.job, *swap.failure, seconds=seconds)
    try:
        manifest = _as_sharded(swap.job).seal(library, swap.reports)
    except PegasusError as error:
        return failed_outcome(swap.job, error.reason, error.message, seconds=seconds)
    swap.attempt.done()
    return made_outcome(swap.job, manifest, seconds=seconds)


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
