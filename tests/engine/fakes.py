"""Small jobs that commit a file, fail, end their worker, or resume from a checkpoint."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from pegasus_ray.engine import train
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger, StageCounts
from pegasus_ray.library.records.status import status as read_status
from pegasus_ray.library.shards import Shard, ShardReport, plan_shards, seal_swap, write_shard
from pegasus_ray.library.swaps import Swap
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest, Provenance, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.schemas.tables import SCORES

Behaviour = Literal["do", "fail", "fail late", "slow", "crash", "die always", "hungry", "resume", "patient resume"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeJob:
    key: str
    stage: Stage = Stage.FIT
    behaviour: Behaviour = "do"
    needs: tuple[str, ...] = ()
    threads: int = 0
    batch: int = 4
    instead_of: str = ""
    room: int = 0
    short_of: int = 0

    @property
    def subject(self) -> str:
        return f"input {self.key[-2:]}"

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        progress(0.5, "half way")
        for need in self.needs:
            assert library.exists(Kind.AVATARS, need) or library.exists(Kind.TRACKS, need)
        resumed = (scratch / "checkpoint").exists()
        match self.behaviour:
            case "fail":
                raise PegasusError(Reason.NOT_A_VIDEO, "is no video; give an mp4")
            case "fail late":
                (scratch / "checkpoint").write_text("step 5")
                raise PegasusError(Reason.DIVERGED, "the loss is not a number")
            case "slow":
                time.sleep(0.6)
            case "crash":
                raise ZeroDivisionError("a bug")
            case "hungry" if self.batch > 1:
                raise MemoryError
            case "die always":
                os._exit(1)
            case "patient resume" if not resumed:
                (scratch / "checkpoint").write_text("step 5")
                train.CHECKPOINT_SECONDS = 0.0
                progress(0.6, "checkpoint handed over")
                time.sleep(5)  # until Ray Train's controller has recorded the checkpoint
                os._exit(1)
            case "resume" if not resumed:
                (scratch / "checkpoint").write_text("step 5")
                progress(0.6, "checkpoint written")
                os._exit(1)
        summary = {"batch": self.batch, "resumed": int(resumed)}
        return library.commit(self.stage.kind, self.key, {"x": self.key.encode()}, Provenance(summary=summary))

    def smaller(self) -> FakeJob | None:
        return replace(self, batch=self.batch // 2) if self.batch > 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeSwapJob(FakeJob):
    stage: Stage = Stage.SWAP
    frames: int = 6
    bad_frame: int = -1  # its shard fails
    deadly_frame: int = -1  # its shard ends the worker

    def shards(self, library: Library) -> Sequence[Shard]:
        return plan_shards(self.key, range(self.frames), per_shard=2)

    def make(self, library: Library, shard: Shard) -> ShardReport:
        if self.bad_frame in shard.frames:
            raise PegasusError(Reason.MISSING_ATTRIBUTE, "no hat to lend")
        if self.deadly_frame in shard.frames:
            os._exit(1)
        return write_shard(library, shard, _frames(shard))

    def seal(self, library: Library, reports: Sequence[ShardReport]) -> Manifest:
        return seal_swap(library, self.key, self.shards(library), reports, Provenance())

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        return self.seal(library, [self.make(library, shard) for shard in self.shards(library)])


def status(library: Library) -> dict[Stage, StageCounts]:
    """The counts that `pegasus status` gives."""
    return read_status(Catalogue(library), Ledger(library))


def key(number: int) -> str:
    return f"{number:016x}"


def _frames(shard: Shard) -> Swap:
    """The frames of a shard, of two pixels a side and with nothing to see."""
    count = len(shard.frames)
    pictures = {name: np.zeros((count, 2, 2), np.uint8) for name in ("part_masks", "object_masks")}
    numbers = {"shape": 1, "expression": 1, "head": 6, "torso": 6, "jaw": 3, "eyes": 6, "camera": 3}
    return Swap(
        target=key(0),
        avatar=key(0),
        attribute=Attribute.HAIR,
        indices=np.array(shard.frames, np.int32),
        images=np.zeros((count, 2, 2, 3), np.uint8),
        scores={name: np.full(count, 0.5, np.float32) for name in SCORES},
        **pictures,
        **{name: np.zeros((count, width), np.float32) for name, width in numbers.items()},
    )
