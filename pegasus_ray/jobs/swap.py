"""The job that makes a swap: the target's frames with one attribute of another person, committed shard by shard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pegasus_ray.jobs.results import provenance, read_avatar, read_track
from pegasus_ray.jobs.stage_job import StageJob, plan_key
from pegasus_ray.jobs.work import Summary
from pegasus_ray.library.library import Library
from pegasus_ray.library.shards import Shard, missing_shards, plan_shards, seal_swap, write_shard
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.judge import judge_models
from pegasus_ray.stages.swap import SwapConfig, Swapper, swap_frames

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
    models: tuple[tuple[str, str], ...]  # names and sha256 of the model files that are to judge the frames
    config: SwapConfig

    @classmethod
    def plan(
        cls, track: str, target: str, avatar: str, attribute: Attribute, config: SwapConfig, *, subject: str
    ) -> SwapJob:
        """The job for one pair of the plan: an avatar and an attribute that it may lend."""
        inputs, models = {"track": track, "target": target, "avatar": avatar}, judge_models(config.judge)
        return cls(
            key=plan_key(cls.stage, inputs, {"swap": config, "attribute": attribute}, dict(models)),
            subject=subject,
            threads=config.threads,
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
        frames = swap_frames(read_track(library.location, self.track), self.config)
        return plan_shards(self.key, frames, per_shard=FRAMES_PER_SHARD)

    def make(self, library: Library, shard: Shard) -> None:
        """See `ShardedJob`."""
        if judge_models(self.config.judge) != self.models:
            message = "this worker has other model files than the driver; run `pegasus assets fetch models` on both"
            raise PegasusError(Reason.ASSET_MISSING, message, subject=self.subject)
        swapper = _swapper(library.location, self)
        write_shard(library, shard, swapper(shard.frames, target_key=self.track, avatar_key=self.avatar))

    def seal(self, library: Library) -> Summary:
        """See `ShardedJob`."""
        lender = library.expect(Stage.FIT.kind, self.avatar)
        facts = provenance(
            self.inputs,
            self.config,
            source=self.subject,
            rig=lender.rig,
            threads=self.threads,
            attributes=(self.attribute,),
            consent=lender.consent,
        )
        return seal_swap(library, self.key, self.shards(library), facts).summary

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Make the shards that are missing, one after another, and seal the swap."""
        missing = missing_shards(library, self.shards(library))
        for number, shard in enumerate(missing):
            progress(number / len(missing), f"{number} of {len(missing)} shards")
            self.make(library, shard)
        return self.seal(library)

    def smaller(self) -> SwapJob | None:
        """The swap with half as many frames at a time; None at one frame."""
        if self.config.batch == 1:
            return None
        return replace(self, config=replace(self.config, batch=self.config.batch // 2))


@lru_cache(maxsize=2)
def _swapper(location: str, job: SwapJob) -> Swapper:
    """A job's swap, prepared. The last two stay in memory, because all shards of a job need the same preparation."""
    library = Library(location)
    target, lender = (read_avatar(library, key) for key in (job.target, job.avatar))
    return Swapper(read_track(location, job.track), target, lender, job.attribute, job.config)
