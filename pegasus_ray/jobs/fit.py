"""The job that turns a track into an avatar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pegasus_ray.avatar.files.avatar import dump_avatar
from pegasus_ray.avatar.files.fields import dump_fields
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.jobs.preview import PREVIEW_FILE, draw_preview
from pegasus_ray.jobs.results import device_class, read_track, visible_device
from pegasus_ray.jobs.stage_job import StageJob, identify
from pegasus_ray.library.library import Library
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.manifests import Manifest, SeenPerson, Stage
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import fit

CHECKPOINT_FILE = "fit.safetensors"  # name in the scratch folder
MIN_LAST_SCALE = 0.4
"""Least side of the pictures in a fit's last stage, as a share of the track's side. The out-of-memory ladder ends there."""
SHRINK_FACTOR = 0.75
"""By which factor one step of the out-of-memory ladder reduces the pictures' side and the number of points."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob(StageJob):
    """The fit of one person's avatar to a track."""

    stage: ClassVar[Stage] = Stage.FIT
    track: str
    config: FitConfig

    @classmethod
    def plan(cls, track: str, config: FitConfig, *, subject: str, seen: Sequence[SeenPerson] = ()) -> FitJob:
        """The job for a track, which may still have to be made; `seen` is whom it shows."""
        key, work = identify(cls.stage, {"track": track}, {"fit": config})
        return cls(
            key=key,
            work=work,
            subject=subject,
            threads=config.threads,
            seen=tuple(seen) or (SeenPerson(recording=track),),
            track=track,
            config=config,
        )

    @property
    def inputs(self) -> dict[str, str]:
        """The track."""
        return {"track": self.track}

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Fit the avatar, draw a preview on the first unseen frame, commit."""
        track, device = read_track(library.location, self.track), visible_device()
        result = fit(track, self.config, progress=progress, checkpoint=scratch / CHECKPOINT_FILE, device=device)
        points = result.fields.canonical(load_rig(track.rig)) if result.fields else None
        preview = draw_preview(result.avatar, track, points)
        facts = self.provenance(
            self.config,
            source=track.source,
            rig=track.rig,
            seed=self.config.seed,
            device=device_class(device),
            attributes=result.attributes,
            summary=result.figures,
        )
        avatar = (
            dump_fields(result.avatar, result.fields, result.attributes)
            if result.fields
            else dump_avatar(result.avatar, result.attributes)
        )
        return library.commit(self.stage.kind, self.key, avatar | {PREVIEW_FILE: preview}, facts)

    def smaller(self) -> FitJob | None:
        """The fit with smaller pictures and fewer points, a result of its own; None once the pictures would be too small."""
        stages = tuple(
            replace(stage, scale=stage.scale * SHRINK_FACTOR, points=int(stage.points * SHRINK_FACTOR))
            for stage in self.config.stages
        )
        if stages[-1].scale < MIN_LAST_SCALE:
            return None
        coarser = FitJob.plan(self.track, replace(self.config, stages=stages), subject=self.subject, seen=self.seen)
        return replace(coarser, stale=self.stale, instead_of=self.instead_of or self.key, room=self.room)
