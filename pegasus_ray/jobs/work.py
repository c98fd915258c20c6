"""Jobs and their outcomes as data: what an executor runs, on this machine or another, and what it reports back."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol, Self, runtime_checkable

import cv2

from pegasus_ray.jobs.memory import machine_room
from pegasus_ray.library.library import Library, written_later
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import Attempt, record, write_events
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.library.scratch import Scratch, open_scratch
from pegasus_ray.library.shards import Shard, ShardReport
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, Manifest, PlannedItem, ResultEntry, Stage, entry_of
from pegasus_ray.schemas.progress import Progress

Summary = Mapping[str, float | int | str]

ROOM_MARGIN = 1.05
"""By which factor a machine has to have more memory than one that had too little, for another try to be worth it."""
_OUT_OF_MEMORY = (
    "can't allocate memory",  # torch on the CPU
    "not enough memory",
    "CUDA out of memory",
    "Insufficient memory",  # OpenCV
    "Failed to allocate",
)
_DISK_FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)


class Job(Protocol):
    """The work of making one result: a small, frozen, picklable value.

    It reads its inputs from the library and commits its result there.
    """

    @property
    def stage(self) -> Stage:
        """The stage that makes the result."""

    @property
    def key(self) -> str:
        """Key of the result."""

    @property
    def subject(self) -> str:
        """The input, by the name that people know it by."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the results that must be in the library before this job can run."""

    @property
    def threads(self) -> int:
        """Number of threads for torch, because the order of sums depends on it; 0 leaves torch's own setting."""

    @property
    def instead_of(self) -> str:
        """Key of the finer result that was planned, if this is a smaller form of that work with a result of its own."""

    @property
    def room(self) -> int:
        """Bytes of memory of the machine where memory did not suffice for what was planned; 0 if nobody could say."""

    @property
    def short_of(self) -> int:
        """Bytes of memory with which an earlier try at this job did not get by; 0 if none failed so."""

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Make the result and commit it, resuming from the checkpoint that an earlier try left in the scratch folder."""

    def smaller(self) -> Self | None:
        """The same work with less memory; None if it cannot be done with less.

        If its result is another one, coarser, then so is its key.
        """


@runtime_checkable
class ShardedJob(Protocol):
    """A job whose result is committed shard by shard, in any order, by any number of workers."""

    def shards(self, library: Library) -> Sequence[Shard]:
        """All shards of the result, made or not."""

    def make(self, library: Library, shard: Shard) -> ShardReport:
        """Make and commit one shard."""

    def seal(self, library: Library, reports: Sequence[ShardReport]) -> Manifest:
        """Write the manifest from the reports of all shards. Raises PegasusError CORRUPT if one is missing."""


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
    entry: ResultEntry | None = None  # of the result, for the catalogue
    room: int = 0  # where memory ran out: how many bytes of it the machine has


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A report about one job while a run is going on."""

    stage: Stage
    key: str
    subject: str
    share: float = 0.0  # of the job that is done, 0–1
    text: str = ""
    outcome: Outcome | None = None  # once the job has ended


OnEvent = Callable[[Event], None]


def planned_item(job: Job) -> PlannedItem:
    """A job in the form in which the ledger keeps it: what becomes of a smaller form of it is told of what was planned."""
    return PlannedItem(stage=job.stage, key=job.instead_of or job.key, subject=job.subject, needs=job.needs)


def progress_event(job: Job, share: float, text: str) -> Event:
    """The event that reports a job's progress."""
    return Event(stage=job.stage, key=job.key, subject=job.subject, share=share, text=text)


def end_event(outcome: Outcome) -> Event:
    """The event that reports a job's end."""
    return Event(stage=outcome.stage, key=outcome.key, subject=outcome.subject, share=1.0, outcome=outcome)


def waiting_event(text: str) -> Event:
    """The event that tells what a run waits for; it is about no job."""
    return Event(stage=Stage.TRACK, key="", subject="", text=text)


def outcome_before_run(job: Job, catalogue: Catalogue, ledger: Ledger) -> Outcome | None:
    """The outcome of a job that need not or must not run; None if it is to run.

    It is skipped if its result is there, and failed if it is quarantined or a later release has written the result.
    """
    entry = catalogue.get(job.stage.kind, job.key)
    if entry is not None:
        return _outcome(job, "skipped", summary=entry.summary)
    if catalogue.is_later(job.stage.kind, job.key):
        error = written_later(job.stage.kind, job.key)
        return _outcome(job, "failed", reason=error.reason, message=error.message)
    event = ledger.quarantine_of(job.stage, job.key)
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
    """Run one job once, record the try in the ledger, and return how it ended.

    An error in the job becomes a failed outcome and is not raised, so that one bad item does not end the run.

    Args:
        job: what to do.
        library: holds the job's inputs and takes its result.
        progress: told the share done and a short text.
        number: of the try, counted by the driver.
        scratch: opens the folder for the job's checkpoints; by default the library's own.
    """
    began = time.monotonic()
    entry: Attempt | None = None
    try:
        there = library.manifest(job.stage.kind, job.key)
        if there is not None:
            return made_outcome(job, there, skipped=True)
        if job.short_of and job.short_of * ROOM_MARGIN >= machine_room():
            message = "it was made smaller for want of memory, and there is no more of it here"
            return _outcome(job, "skipped", message=message)
        entry = Attempt(library, planned_item(job), number=number)
        write_events(library)  # at once: if this process dies, the start is all that tells of the try
        set_threads(job)
        with scratch or open_scratch(library, job.stage, job.key) as kept:
            manifest = job.run(library, _with_heartbeat(progress, entry, kept), kept.folder)
        entry.done()
        with suppress(PegasusError, OSError):  # the result is there, whatever the ledger says of it
            write_events(library)
        return made_outcome(job, manifest, seconds=time.monotonic() - began)
    except Exception as error:  # noqa: BLE001 - one bad item must not end the run; the ledger keeps the error
        reason, message = describe_error(error)
        if entry is not None:
            with suppress(PegasusError, OSError):  # on a full disk the outcome must still reach the driver
                entry.failed(reason, message)
        room = machine_room() if reason is Reason.OUT_OF_MEMORY else 0
        failed = _outcome(job, "failed", reason=reason, message=message, seconds=time.monotonic() - began)
        return replace(failed, room=room)


def set_threads(job: Job) -> None:
    """Set torch to the number of threads that the job asks for."""
    if job.threads:
        import torch  # imported here, because a process that only passes events on does not need torch

        torch.set_num_threads(job.threads)


def quarantine(library: Library, job: Job, outcome: Outcome, *, number: int) -> None:
    """Quarantine a job whose tries are used up: later runs refuse it until `pegasus retry` releases it."""
    record(
        library,
        planned_item(job),
        EventKind.QUARANTINED,
        number=number,
        reason=outcome.reason,
        message=outcome.message,
        seconds=outcome.seconds,
    )


def failed_outcome(job: Job, reason: Reason, message: str, *, seconds: float = 0.0) -> Outcome:
    """The outcome of a failed job, made by the driver where the worker could not report it."""
    return _outcome(job, "failed", reason=reason, message=message, seconds=seconds)


def lost_outcome(job: Job, why: Outcome) -> Outcome:
    """The outcome of a job that needs one that was made smaller, and is not tried in this run."""
    message = (
        f"needs {why.subject}, which was made smaller for want of memory; run the command again to go on from that"
    )
    return _outcome(job, "failed", reason=Reason.OUT_OF_MEMORY, message=message)


def made_outcome(job: Job, manifest: Manifest, *, seconds: float = 0.0, skipped: bool = False) -> Outcome:
    """The outcome of a job whose result is committed, by this try or, if it is skipped, by an earlier one."""
    made = _outcome(job, "skipped" if skipped else "done", summary=manifest.summary, seconds=seconds)
    message = "made smaller: there was not enough memory" if manifest.instead_of else ""
    return replace(made, entry=entry_of(manifest), message=message)


def describe_error(error: BaseException) -> tuple[Reason, str]:
    """The reason of an error, and one sentence about it."""
    if isinstance(error, PegasusError):
        return error.reason, error.message
    if _is_out_of_memory(error):
        return Reason.OUT_OF_MEMORY, "not enough memory; give it more, or a smaller size or batch"
    if isinstance(error, OSError) and error.errno in _DISK_FULL_ERRORS:
        return Reason.DISK_FULL, "the disk is full; make room and run the same command again"
    text = " ".join(str(error).split()) or "no message"
    return Reason.INTERNAL, f"{type(error).__name__}: {text}"


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's, a GPU's, or the CPU's in torch and OpenCV, which have texts of their own for it."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)
    return isinstance(error, RuntimeError | cv2.error) and any(words in text for words in _OUT_OF_MEMORY)


def _with_heartbeat(progress: Progress, entry: Attempt, scratch: Scratch) -> Progress:
    """Progress that also tells the ledger that the job is alive, and saves its checkpoints."""

    def report(share: float, text: str) -> None:
        entry.beat()
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
