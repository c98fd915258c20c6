"""Runs swaps on Ray Data: a pool of actors makes and commits their shards.

Swaps go out in waves: all that are ready when the wave before has ended. A row of a wave's plan is a swap, or a part of one where
there are more actors than swaps, so that an actor prepares a swap once and makes its shards one after another. Rows and statuses
pass through Ray Data, never pictures. Ray Data may run a row again, for instance after a worker's death. Therefore a shard that
is there is not made again, and a shard during which several workers have died is given up: Ray Data would try it for ever.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import ray
import ray.data

from pegasus_ray.engine.cluster import worker_capacity
from pegasus_ray.engine.config import EngineConfig
from pegasus_ray.engine.relay import progress_by_post
from pegasus_ray.engine.schedule import Ended, Schedule, Try
from pegasus_ray.jobs.work import (
    Job,
    ShardedJob,
    describe_error,
    failed_outcome,
    made_outcome,
    planned_item,
    set_threads,
)
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.ledger import LEDGER, MARKS_PREFIX, Attempt, record
from pegasus_ray.library.shards import Shard, ShardReport, find_shard
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, Stage

ROWS_AN_ACTOR: Final = 2
"""Rows that there should be for each actor at least: fewer, and swaps are divided into several rows."""
STORAGE_TRIES: Final = 2
"""Tries at a shard during which the storage, or anything else that is not the swap's own fault, failed."""

_Rows = dict[str, np.ndarray]
_TOLD: Final = ("swap", "report", "seconds", "reason", "message")  # columns that a worker tells about a shard


class ShardMaker:
    """What each actor of the pool runs: makes the shards of the rows it gets and tells about each."""

    def __init__(self, location: str, run: str, jobs: Mapping[str, Job], attempts: int, events: Any = None) -> None:
        self._library = Library(location)
        self._run = run
        self._jobs = jobs
        self._attempts = attempts
        self._events = events

    def __call__(self, rows: _Rows) -> Iterator[_Rows]:
        """Make the shards of some rows.

        The rows given have the columns `swap` and `shards` (JSON: the frame numbers of each shard). For each shard a row is
        given back, with `swap`, `report` (see `ShardReport`), `seconds`, `reason` and `message`; the last two are empty if it
        is there.
        """
        for swap, shards in zip(rows["swap"], rows["shards"], strict=True):
            job = self._jobs[str(swap)]
            progress = progress_by_post(job, self._events) if self._events else _silence
            frames = json.loads(str(shards))
            attempt = Attempt(self._library, planned_item(job))  # the driver tells how it ends
            try:
                for number, of_shard in enumerate(frames):
                    progress(number / len(frames), f"shard {number + 1} of {len(frames)}")
                    attempt.beat()
                    began = time.monotonic()
                    report, reason, message = self._make(Shard(swap=str(swap), frames=tuple(of_shard)))
                    told = (str(swap), report, time.monotonic() - began, reason, message)
                    yield {name: np.array([value], object) for name, value in zip(_TOLD, told, strict=True)}
            finally:
                attempt.leave()

    def _make(self, shard: Shard) -> tuple[str, str, str]:
        """Make one shard unless it is there; its report, and reason and message of its failure."""
        for number in range(STORAGE_TRIES):
            try:
                return self._make_once(shard)
            except Exception as error:  # noqa: BLE001 - one bad shard or request must not end the run; its row names the error
                reason, message = describe_error(error)
                if reason is not Reason.INTERNAL or number == STORAGE_TRIES - 1:
                    return "", reason, message
        raise AssertionError("unreachable")

    def _make_once(self, shard: Shard) -> tuple[str, str, str]:
        job = self._jobs[shard.swap]
        report = find_shard(self._library, shard)
        if report is not None:
            return report.to_json(), "", ""
        marks = self._leave_mark(shard)
        if not marks:
            return "", Reason.WORKER_DIED, f"shard {shard.name} has ended {self._attempts} workers"
        set_threads(job)
        try:
            report = self._with_less_memory(job, shard)
        finally:
            self._remove_marks(shard, marks)
        return report.to_json(), "", ""

    def _with_less_memory(self, job: Job, shard: Shard) -> ShardReport:
        """Make a shard, in smaller and smaller steps if memory runs out: they give the same frames."""
        while True:
            try:
                return _as_sharded(job).make(self._library, shard)
            except Exception as error:
                smaller = job.smaller() if describe_error(error)[0] is Reason.OUT_OF_MEMORY else None
                if smaller is None or smaller.key != shard.swap:
                    raise
                job = smaller

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
    """A swap of a wave, and what the workers have told about its shards."""

    tried: Try
    shards: Sequence[Shard]
    ended: int = 0  # shards that were made or failed
    seconds: float = 0.0  # that the workers took for them
    reports: list[ShardReport] = field(default_factory=list)
    failure: tuple[Reason, str] | None = None  # the first


class DataLane:
    """Swaps, on Ray Data; a thread of the driver follows each wave and seals a swap when its last shard is there.

    Args:
        config: how many actors, and what each asks for.
        library: takes the shards.
        run: a name for this run; the marks that dead workers leave are kept under it.
        events: the actor that passes progress on.
        heard: keys of the jobs that have told of their progress; it is kept up by the driver.
    """

    stages = frozenset({Stage.SWAP})

    def __init__(
        self, config: EngineConfig, library: Library, *, run: str, events: Any, heard: Collection[str]
    ) -> None:
        self._config = config
        self._library = library
        self._run_name = run
        self._events = events
        self._heard = heard
        self._wave: threading.Thread | None = None
        self._keys: set[str] = set()  # of the swaps of the wave that have not ended
        self._ended: queue.Queue[Ended] = queue.Queue()

    @property
    def hungry(self) -> bool:
        """See `Lane.hungry`: a wave has no worker yet."""
        return bool(self._keys) and not any(key in self._heard for key in self._keys)

    def pull(self, schedule: Schedule, *, give_way: bool) -> None:
        """See `Lane.pull`: all that is ready goes into the next wave."""
        if self._wave is not None and self._wave.is_alive():
            return
        tries = []
        while (tried := schedule.take(self.stages)) is not None:
            tries.append(tried)
        if tries:
            self._keys = {tried.job.key for tried in tries}
            self._wave = threading.Thread(target=self._make, args=(tries,), name="swaps", daemon=True)
            self._wave.start()

    def collect(self, seconds: float) -> Sequence[Ended]:
        """See `Lane.collect`."""
        ended = []
        with suppress(queue.Empty):
            ended.append(self._ended.get(timeout=seconds) if seconds else self._ended.get_nowait())
            while True:
                ended.append(self._ended.get_nowait())
        self._keys -= {end.tried.job.key for end in ended}
        return ended

    def close(self) -> None:
        """See `Lane.close`. A wave ends with the connection to Ray."""
        self._library.storage.remove_tree(_marks_folder(self._run_name))

    def _make(self, tries: Sequence[Try]) -> None:
        """Make a wave's swaps. Whatever happens, each try ends."""
        left = {tried.job.key: tried for tried in tries}
        try:
            swaps: dict[str, _Swap] = {}
            for tried in tries:
                swap = self._begin(tried)
                if isinstance(swap, Ended):
                    self._end(left, swap)
                else:
                    swaps[tried.job.key] = swap
            if swaps:
                self._follow(swaps, left)
        except Exception as error:  # noqa: BLE001 - the driver must hear of every end
            reason, message = describe_error(error)
            if isinstance(error, ray.exceptions.RayError):
                # Ray Data ended the wave. Committed shards stay, and it is no swap's own fault.
                reason, message = (
                    Reason.INTERNAL,
                    f"Ray Data ended early ({type(error).__name__}); run the command again",
                )
            for tried in list(left.values()):
                self._end(left, Ended(tried=tried, outcome=failed_outcome(tried.job, reason, message)))

    def _end(self, left: dict[str, Try], ended: Ended) -> None:
        if left.pop(ended.tried.job.key, None) is not None:
            self._ended.put(ended)

    def _begin(self, tried: Try) -> _Swap | Ended:
        """Number a swap's shards; it has ended where an input of it is missing."""
        try:
            shards = _as_sharded(tried.job).shards(self._library)
        except PegasusError as error:
            swap = _Swap(tried=tried, shards=(), failure=(error.reason, error.message))
            return _ended(swap, self._library)
        return _Swap(tried=tried, shards=shards)

    def _follow(self, swaps: Mapping[str, _Swap], left: dict[str, Try]) -> None:
        """Have the shards of all swaps made, and seal each swap when its last shard is there."""
        _silence_ray_data()
        demand = self._config.demand(Stage.SWAP)
        workers = self._config.workers or worker_capacity(demand)
        rows = _rows(swaps, ROWS_AN_ACTOR * workers)
        dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardMaker,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(workers, len(rows))),
            num_cpus=demand.cpus,
            num_gpus=demand.gpus or None,
            memory=demand.memory or None,
            label_selector=self._config.labels,
            fn_constructor_kwargs={
                "location": self._library.location,
                "run": self._run_name,
                "jobs": {key: swap.tried.job for key, swap in swaps.items()},
                "attempts": self._config.attempts,
                "events": self._events,
            },
        )
        for row in dataset.iter_rows():
            swap = swaps[str(row["swap"])]
            swap.ended += 1
            swap.seconds += float(row["seconds"])
            if row["reason"]:
                swap.failure = swap.failure or (Reason(row["reason"]), str(row["message"]))
            else:
                swap.reports.append(ShardReport.from_json(str(row["report"])))
            if swap.ended == len(swap.shards):
                self._end(left, _ended(swap, self._library))


def _rows(swaps: Mapping[str, _Swap], least: int) -> list[dict[str, str]]:
    """The rows of a wave: a swap each, or parts of swaps where there are fewer than there should be."""
    parts = max(1, -(-least // len(swaps)))
    rows = []
    for key, swap in swaps.items():
        size = max(1, -(-len(swap.shards) // parts))
        for start in range(0, len(swap.shards), size):
            frames = [shard.frames for shard in swap.shards[start : start + size]]
            rows.append({"swap": key, "shards": json.dumps(frames)})
    return rows


def _silence_ray_data() -> None:
    """Turn off the progress bars and messages of Ray Data: the command shows its own progress."""
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _ended(swap: _Swap, library: Library) -> Ended:
    """Write the swap's manifest, unless one of its shards failed; record how it ended."""
    job, item, number = swap.tried.job, planned_item(swap.tried.job), swap.tried.number
    failure = swap.failure
    if failure is None:
        try:
            manifest = _as_sharded(job).seal(library, swap.reports)
            record(library, item, EventKind.DONE, number=number, seconds=swap.seconds)
            return Ended(tried=swap.tried, outcome=made_outcome(job, manifest, seconds=swap.seconds))
        except (PegasusError, OSError) as error:
            failure = describe_error(error)
    reason, message = failure
    record(library, item, EventKind.FAILED, number=number, reason=reason, message=message, seconds=swap.seconds)
    return Ended(tried=swap.tried, outcome=failed_outcome(job, reason, message, seconds=swap.seconds))


def _as_sharded(job: Job) -> ShardedJob:
    if not isinstance(job, ShardedJob):
        raise PegasusError(Reason.INTERNAL, f"{type(job).__name__} has no shards", subject=job.subject)
    return job


def _marks_folder(run: str) -> str:
    return f"{LEDGER}/{MARKS_PREFIX}{run}"


def _silence(share: float, text: str) -> None:
    """Progress of which nobody wants to know."""
