"""The job that makes a swap: the target's frames with one attribute of another person, committed shard by shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pegasus_ray.jobs.results import read_avatar, read_track
from pegasus_ray.jobs.stage_job import StageJob, identify
from pegasus_ray.library.library import Library
from pegasus_ray.library.shards import Shard, ShardReport, find_shard, plan_shards, seal_swap, write_shard
from pegasus_ray.library.tracks import track_length
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Manifest, SeenPerson, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.judge import judge_models
from pegasus_ray.stages.swap import SwapConfig, Swapper, swap_frames

Models = tuple[tuple[str, str], ...]  # names and sha256 of model files

FRAMES_PER_SHARD = 16
"""Frames that are committed together: a killed run loses the work on one shard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapJob(StageJob):
    """The swap of one attribute from one avatar onto the target's frames."""

    stage: ClassVar[Stage] = Stage.SWAP
    track: str  # the target's
    target: str  # the target's avatar
    avatar: str  # the avatar that lends the attribute
    attribute: Attribute
    models: Models  # that are to judge the frames
    config: SwapConfig

    @classmethod
    def plan(
        cls,
        track: str,
        target: str,
        avatar: str,
        attribute: Attribute,
        config: SwapConfig,
        *,
        subject: str,
        seen: Sequence[SeenPerson] = (),
        models: Models | None = None,
    ) -> SwapJob:
        """The job for one pair of the plan, an avatar and an attribute that it may lend.

        Args:
            track: the target's.
            target: the target's avatar.
            avatar: that lends.
            attribute: that is borrowed.
            config: of the swap.
            subject: what people call it.
            seen: the target and the lender.
            models: `judge_models` of the configuration, from who plans many.
        """
        inputs = {"track": track, "target": target, "avatar": avatar}
        models = judge_models(config.judge) if models is None else models
        key, work = identify(cls.stage, inputs, {"swap": config, "attribute": attribute}, dict(models))
        return cls(
            key=key,
            work=work,
            subject=subject,
            threads=config.threads,
            seen=tuple(seen),
            track=track,
            target=target,
            avatar=avatar,
            attribute=attribute,
            models=models,
            config=config,
        )

    @property
    def inputs(self) -> dict[str, str]:
        """The target's track and avatar, and the avatar that lends."""
        return {"track": self.track, "target": self.target, "avatar": self.avatar}

    def shards(self, library: Library) -> tuple[Shard, ...]:
        """See `ShardedJob`."""
        frames = swap_frames(_length(library.location, self.track), self.config)
        return plan_shards(self.key, frames, per_shard=FRAMES_PER_SHARD)

    def make(self, library: Library, shard: Shard) -> ShardReport:
        """See `ShardedJob`."""
        if judge_models(self.config.judge) != self.models:
            message = "this worker has other model files than the driver; run `pegasus assets fetch models` on both"
            raise PegasusError(Reason.ASSET_MISSING, message, subject=self.subject)
        swapper = _swapper(library.location, self)
        return write_shard(library, shard, swapper(shard.frames, target_key=self.track, avatar_key=self.avatar))

    def seal(self, library: Library, reports: Sequence[ShardReport]) -> Manifest:
        """See `ShardedJob`."""
        lender = library.expect(Stage.FIT.kind, self.avatar)
        facts = self.provenance(self.config, source=self.subject, rig=lender.rig, attributes=(self.attribute,))
        return seal_swap(library, self.key, self.shards(library), reports, facts)

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Make the shards that are missing, one after another, and seal the swap."""
        shards, reports = self.shards(library), []
        for number, shard in enumerate(shards):
            progress(number / len(shards), f"{number} of {len(shards)} shards")
            reports.append(find_shard(library, shard) or self.make(library, shard))
        return self.seal(library, reports)

    def smaller(self) -> SwapJob | None:
        """The swap with half as many frames at a time, which gives the same frames; None at one frame."""
        if self.config.batch == 1:
            return None
        return replace(self, config=replace(self.config, batch=self.config.batch // 2))


@lru_cache(maxsize=64)
def _length(location: str, track: str) -> int:
    """The length of a track, which the driver asks for once a swap."""
    return track_length(Library(location), track)


@lru_cache(maxsize=2)
def _swapper(location: str, job: SwapJob) -> Swapper:
    """A job's swap, prepared. The last two stay in memory, because all shards of a job need the same preparation."""
    library = Library(location)
    target, lender = (read_avatar(library, key) for key in (job.target, job.avatar))
    return Swapper(read_track(location, job.track), target, lender, job.attribute, job.config)
