"""The job that turns a video into a track."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pegasus_ray.jobs.stage_job import StageJob, identify
from pegasus_ray.library.keys import digest_file
from pegasus_ray.library.library import Library
from pegasus_ray.library.tracks import save_track
from pegasus_ray.perception.observe import models_of
from pegasus_ray.rig.load import models_of_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import InputEntry, Manifest, SeenPerson, Stage
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
    def plan(cls, video: Path, config: TrackConfig, *, name: str = "", consent: str = "") -> TrackJob:
        """The job for a video file, and the name and consent of the person in it.

        The key depends on the file's content, not on its name.

        Raises:
            PegasusError: NOT_FOUND if there is no such file.
        """
        digest, models = digest_file(video), _model_files(config)
        key, work = identify(cls.stage, {"video": digest}, config, dict(models))
        return cls(
            key=key,
            work=work,
            subject=str(video),
            seen=(SeenPerson(track=key, name=name, consent=consent),),
            video=str(video.absolute()),
            digest=digest,
            models=models,
            config=config,
        )

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Track the person in the video and commit the track.

        Raises:
            PegasusError: ASSET_MISSING if this worker's model files differ from those of the plan.
        """
        if _model_files(self.config) != self.models:
            message = "this worker has other model files than the driver; fetch the models, or import the rig, on both"
            raise PegasusError(Reason.ASSET_MISSING, message, subject=self.subject)
        observed = observe_video(Path(self.video), self.config, progress)
        track = track_observed(observed, self.config, progress)
        files = (("video", self.digest), *self.models)
        facts = self.provenance(
            self.config,
            source=track.source,
            rig=track.rig,
            more_inputs=[InputEntry(name=name, sha256=digest) for name, digest in files],
            summary=observed.summary(),
        )
        return save_track(library, self.key, track, facts)


def _model_files(config: TrackConfig) -> tuple[tuple[str, str], ...]:
    """Names and sha256 of all model files that decide what a track contains."""
    return (*models_of(config.observe), *models_of_rig(config.rig))
