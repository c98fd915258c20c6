"""The job that turns a video into a track."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pegasus_ray.jobs.results import provenance
from pegasus_ray.jobs.stage_job import StageJob, plan_key
from pegasus_ray.jobs.work import Summary
from pegasus_ray.library.keys import digest_file
from pegasus_ray.library.library import Library
from pegasus_ray.library.tracks import save_track
from pegasus_ray.perception.observe import models_of
from pegasus_ray.rig.load import models_of_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import InputEntry, Stage
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.track import TrackConfig, observe_video, track_observed


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackJob(StageJob):
    """Perception of one video."""

    stage: ClassVar[Stage] = Stage.TRACK
    video: str  # path, which must be the same on all workers
    digest: str  # sha256 of the file
    models: tuple[tuple[str, str], ...]  # names and sha256 of the model files that perception is to use
    config: TrackConfig

    @classmethod
    def plan(cls, video: Path, config: TrackConfig) -> TrackJob:
        """The job for a video file. The key depends on the file's content, not on its name.

        Raises:
            PegasusError: NOT_FOUND if there is no such file.
        """
        digest, models = digest_file(video), _model_files(config)
        return cls(
            key=plan_key(cls.stage, {"video": digest}, config, dict(models)),
            subject=str(video),
            video=str(video.absolute()),
            digest=digest,
            models=models,
            config=config,
        )

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Track the person in the video and commit the track.

        Raises:
            PegasusError: ASSET_MISSING if this worker's model files differ from those of the plan.
        """
        if _model_files(self.config) != self.models:
            message = "this worker has other model files than the driver; fetch the models, or import the rig, on both"
            raise PegasusError(Reason.ASSET_MISSING, message, subject=self.subject)
        observed = observe_video(Path(self.video), self.config, progress)
        track = track_observed(observed, self.config, progress)
        facts = provenance(
            {}, self.config, source=track.source, rig=track.rig, threads=self.threads, summary=observed.summary()
        )
        files = (("video", self.digest), *self.models)
        inputs = tuple(InputEntry(name=name, sha256=digest) for name, digest in files)
        return save_track(library, self.key, track, facts.model_copy(update={"inputs": inputs})).summary


def _model_files(config: TrackConfig) -> tuple[tuple[str, str], ...]:
    """Names and sha256 of all model files that decide what a track contains."""
    return (*models_of(config.observe), *models_of_rig(config.rig))
