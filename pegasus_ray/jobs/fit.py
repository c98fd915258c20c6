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
from pegasus_ray.jobs.results import provenance, read_track, visible_device
from pegasus_ray.jobs.stage_job import StageJob, plan_key
from pegasus_ray.jobs.work import Summary
from pegasus_ray.library.library import Library
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.manifests import Stage
from pegasus_ray.schemas.parts import Attribute
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
    lends: tuple[Attribute, ...] = ()  # what the avatar is there to give; empty: whatever the track shows
    consent: str = ""

    @classmethod
    def plan(
        cls,
        track: str,
        config: FitConfig,
        *,
        subject: str,
        lends: Sequence[Attribute] = (),
        consent: str = "",
    ) -> FitJob:
        """The job for a track, which may still have to be made."""
        settings = {"fit": config, "lends": sorted(lends), "consent": consent}
        return cls(
            key=plan_key(cls.stage, {"track": track}, settings),
            subject=subject,
            threads=config.threads,
            track=track,
            config=config,
            lends=tuple(sorted(lends)),
            consent=consent,
        )

    @property
    def inputs(self) -> dict[str, str]:
        """The track."""
        return {"track": self.track}

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Fit the avatar, draw a preview on the first unseen frame, commit."""
        track, device = read_track(library.location, self.track), visible_device()
        result = fit(track, self.config, progress=progress, checkpoint=scratch / CHECKPOINT_FILE, device=device)
        gives = tuple(a for a in result.attributes if not self.lends or a in self.lends)
        points = result.fields.canonical(load_rig(track.rig)) if result.fields else None
        preview = draw_preview(result.avatar, track, points)
        facts = provenance(
            self.inputs,
            self.config,
            source=track.source,
            rig=track.rig,
            seed=self.config.seed,
            threads=self.threads,
            device=device,
            attributes=gives,
            consent=self.consent,
            summary=result.figures,
        )
        avatar = (
            dump_fields(result.avatar, result.fields, gives) if result.fields else dump_avatar(result.avatar, gives)
        )
        return library.commit(self.stage.kind, self.key, avatar | {PREVIEW_FILE: preview}, facts).summary

    def smaller(self) -> FitJob | None:
        """The fit with smaller pictures and fewer points; None once the pictures would be too small."""
        stages = tuple(
            replace(stage, scale=stage.scale * SHRINK_FACTOR, points=int(stage.points * SHRINK_FACTOR))
            for stage in self.config.stages
        )
        if stages[-1].scale < MIN_LAST_SCALE:
            return None
        return replace(self, config=replace(self.config, stages=stages))
