"""A piece of work as data: what an executor runs, here or on another machine, and what it hears back."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

from pegasus_ray.library.ledger import Attempt, quarantine_of, record
from pegasus_ray.library.library import Library
from pegasus_ray.library.scratch import Scratch, open_scratch
from pegasus_ray.library.shards import Shard
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, PlannedItem, Stage
from pegasus_ray.schemas.progress import Progress

Summary = Mapping[str, float | int | str]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Job(Protocol):
    """One result to make: small, frozen, picklable.

    It reads its inputs from the library and commits its result there.
    """

    @property
    def stage(self) -> Stage:
        """What is done."""

    @property
    def key(self) -> str:
        """Of the result."""

    @property
    def subject(self) -> str:
        """The input, as a person would name it."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of results that must be there first."""

    @property
    def threads(self) -> int:
        """For torch, since sums depend on it; 0 leaves it alone."""

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Make the result and commit it. Resumes from what an earlier try left in the scratch folder."""

    def smaller(self) -> Self | None:
        """The same work with less memory, under the same key; None if it cannot be had for less."""


@runtime_checkable
class ShardedJob(Protocol):
    """Work that is committed shard by shard, in any order, by any number of workers."""

    def shards(self, library: Library) -> Sequence[Shard]:
        """The rows of its plan."""

    def make(self, library: Library, shard: Shard) -> None:
        """Make and commit one shard."""

    def seal(self, library: Library) -> Summary:
        """Write the manifest once all shards are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended."""

    stage: Stage
    key: str
    subject: str
    status: Literal["done", "skipped", "failed"]
    reason: Reason | None = None
    message: str = ""
    seconds: float = 0.0
    summary: Summary = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """News of a job while a run is on."""

    stage: Stage
    key: str
    subject: str
    share: float = 0.0  # done, 0–1
    text: str = ""
    outcome: Outcome | None = None  # once it has ended


OnEvent = Callable[[Event], None]


def item_of(job: Job) -> PlannedItem:
    """A job as the ledger names it."""
    return PlannedItem(stage=job.stage, key=job.key, subject=job.subject, needs=job.needs)


def settled(job: Job, library: Library) -> Outcome | None:
    """How a job stands before it is begun: skipped if its result is there, failed if it is set aside, None if it is to
    do.
    """
    standing = library.manifest(job.stage.kind, job.key)
    if standing is not None:
        return _outcome(job, "skipped", summary=standing.summary)
    event = quarantine_of(library, job.stage, job.key)
    if event is None:
        return None
    message = f"set aside: {event.message}; `pegasus retry {job.key}` lets it be tried again"
    return _outcome(job, "failed", reason=event.reason, message=message)


def attempt(
    job: Job,
    library: Library,
    progress: Progress,
    *,
    number: int = 1,
    scratch: AbstractContextManager[Scratch] | None = None,
) -> Outcome:
    """Run one job once, write it down in the ledger, and tell how it ended. Nothing that the job does wrong is raised.

    Args:
        job: what to do.
        library: where its inputs are and its result goes.
        progress: told how far it is.
        number: of the try, counted by the driver.
        scratch: where its checkpoints go; by default the library's own place for them.
    """
    began = time.monotonic()
    written: Attempt | None = None
    try:
        if library.exists(job.stage.kind, job.key):
            return _outcome(job, "skipped")
        written = Attempt(library, item_of(job), number=number)
        set_threads(job)
        with scratch or open_scratch(library, job.stage, job.key) as kept:
            summary = job.run(library, _listening(progress, written, kept), kept.folder)
        written.done()
        return _outcome(job, "done", seconds=time.monotonic() - began, summary=summary)
    except Exception as error:  # noqa: BLE001 - one bad item must not end the run; the ledger keeps what it was
        reason, message = explain(error)
        if written is not None:
            with suppress(PegasusError, OSError):  # on a full disk the answer still reaches the driver
                written.failed(reason, message)
        return _outcome(job, "failed", reason=reason, message=message, seconds=time.monotonic() - began)


def set_threads(job: Job) -> None:
    """Give torch the threads that the job asks for."""
    if job.threads:
        import torch  # here, so that a process that only carries events needs none of it

        torch.set_num_threads(job.threads)


def set_aside(library: Library, job: Job, outcome: Outcome, *, number: int) -> None:
    """Quarantine an item whose tries are used up."""
    record(
        library,
        item_of(job),
        EventKind.QUARANTINED,
        number=number,
        reason=outcome.reason,
        message=outcome.message,
        seconds=outcome.seconds,
    )


def failure(job: Job, reason: Reason, message: str, *, seconds: float = 0.0) -> Outcome:
    """The outcome of a job that could not speak for itself."""
    return _outcome(job, "failed", reason=reason, message=message, seconds=seconds)


def made(job: Job, summary: Summary, *, seconds: float) -> Outcome:
    """The outcome of a job whose result stands."""
    return _outcome(job, "done", summary=summary, seconds=seconds)


def explain(error: BaseException) -> tuple[Reason, str]:
    """An error's reason and one sentence about it."""
    if isinstance(error, PegasusError):
        return error.reason, error.message
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Reason.OUT_OF_MEMORY, "not enough memory; give it more, or a smaller size or batch"
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return Reason.DISK_FULL, "the disk is full; make room and run the same command again"
    text = " ".join(str(error).split()) or "no message"
    return Reason.INTERNAL, f"{type(error).__name__}: {text}"


def _listening(progress: Progress, written: Attempt, scratch: Scratch) -> Progress:
    def report(share: float, text: str) -> None:
        written.beat()
        scratch.keep()
        progress(share, text)

    return report


def _outcome(
    job: Job,
    status: Literal["done", "skipped", "failed"],
    *,
    reason: Reason | None = None,
    message: str = "",
    seconds: float = 0.0,
    summary: Summary | None = None,
) -> Outcome:
    return Outcome(
        stage=job.stage,
        key=job.key,
        subject=job.subject,
        status=status,
        reason=reason,
        message=message,
        seconds=seconds,
        summary=summary or {},
    )
