"""Jobs that make avatars: a video becomes a track, a track becomes an avatar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from pegasus_ray.avatar.files.avatar import dump_avatar
from pegasus_ray.avatar.files.fields import dump_fields
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.jobs.results import provenance, read_track, visible_device
from pegasus_ray.jobs.stage_job import StageJob, plan_key
from pegasus_ray.jobs.work import Summary
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.keys import digest_file
from pegasus_ray.library.library import Library
from pegasus_ray.library.tracks import save_track
from pegasus_ray.perception.observe import models_of
from pegasus_ray.rig.load import load_rig, models_of_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import InputEntry, Stage
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import fit
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.track import TrackConfig, look, track_observed

CHECKPOINT = "fit.safetensors"
SMALLEST_SCALE = 0.4
"""Of a track's side: a fit that does not fit into memory at this is given up."""
SMALLER = 0.75
"""What one step down the out-of-memory ladder leaves of the pictures' side and of the points."""


def _models_of(config: TrackConfig) -> tuple[tuple[str, str], ...]:
    """Names and sha256 of all model files that a track comes from."""
    return (*models_of(config.observe), *models_of_rig(config.rig))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackJob(StageJob):
    """A video becomes a track."""

    stage: ClassVar[Stage] = Stage.TRACK
    video: str  # where all workers find it
    digest: str  # sha256 of the file
    models: tuple[tuple[str, str], ...]  # names and sha256 of the model files that perception is to use
    config: TrackConfig

    @classmethod
    def plan(cls, video: Path, config: TrackConfig) -> TrackJob:
        """The job for a video file; its content decides the key, not its name.

        Raises:
            PegasusError: NOT_FOUND if there is no such file.
        """
        digest, models = digest_file(video), _models_of(config)
        return cls(
            key=plan_key(cls.stage, {"video": digest}, config, dict(models)),
            subject=str(video),
            video=str(video.absolute()),
            digest=digest,
            models=models,
            config=config,
        )

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Look at the video, commit."""
        if _models_of(self.config) != self.models:
            message = "this worker has other model files than the driver; fetch the models, or import the rig, on both"
            raise PegasusError(Reason.ASSET_MISSING, message, subject=self.subject)
        seen = look(Path(self.video), self.config, progress)
        made = track_observed(seen, self.config, progress)
        facts = provenance(
            {}, self.config, source=made.source, rig=made.rig, threads=self.threads, summary=seen.summary()
        )
        used = (("video", self.digest), *self.models)
        inputs = tuple(InputEntry(name=name, sha256=digest) for name, digest in used)
        return save_track(library, self.key, made, facts.model_copy(update={"inputs": inputs})).summary


@dataclass(frozen=True, slots=True, kw_only=True)
class FitJob(StageJob):
    """A track becomes an avatar."""

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
        """The job for a track that need not be there yet."""
        wishes = {"fit": config, "lends": sorted(lends), "consent": consent}
        return cls(
            key=plan_key(cls.stage, {"track": track}, wishes),
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
        """Fit, look at the first unseen frame, commit."""
        shown, device = read_track(library.location, self.track), visible_device()
        result = fit(shown, self.config, progress=progress, checkpoint=scratch / CHECKPOINT, device=device)
        gives = tuple(a for a in result.attributes if not self.lends or a in self.lends)
        _, unseen = shown.held_out()
        points = result.fields.canonical(load_rig(shown.rig)) if result.fields else None
        (preview,) = render_clip(result.avatar, shown, frames=[int(unseen[0])], points=points)
        facts = provenance(
            self.inputs,
            self.config,
            source=shown.source,
            rig=shown.rig,
            seed=self.config.seed,
            threads=self.threads,
            device=device,
            attributes=gives,
            consent=self.consent,
            summary=result.figures,
        )
        made = dump_fields(result.avatar, result.fields, gives) if result.fields else dump_avatar(result.avatar, gives)
        files = made | {"preview.png": encode_png(preview)}
        return library.commit(self.stage.kind, self.key, files, facts).summary

    def smaller(self) -> FitJob | None:
        """Smaller pictures, fewer points."""
        stages = tuple(
            replace(stage, scale=stage.scale * SMALLER, points=int(stage.points * SMALLER))
            for stage in self.config.stages
        )
        if stages[-1].scale < SMALLEST_SCALE:
            return None
        return replace(self, config=replace(self.config, stages=stages))
