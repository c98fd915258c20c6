"""The job that turns a video into a track."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pegasus_ray.jobs.stage_job import StageJob, identify
from pegasus_ray.library.library import Library
from pegasus_ray.library.records.recordings import recording_of_video
from pegasus_ray.library.tracks import save_track
from pegasus_ray.library.videos.addresses import Video, shown
from pegasus_ray.library.videos.fetching import fetched
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
    video: Video  # a file's path must be the same on all workers
    models: tuple[tuple[str, str], ...]  # names and sha256 of the model files that perception is to use
    config: TrackConfig

    @classmethod
    def plan(cls, video: Video, config: TrackConfig, *, name: str = "", consent: str = "") -> TrackJob:
        """The job for a video, and the name and consent of the person in it.

        The key depends on the video's content, not on its name.
        """
        models = _model_files(config)
        key, work = identify(cls.stage, {"video": video.identity}, config, dict(models))
        return cls(
            key=key,
            work=work,
            subject=shown(video.address),
            seen=(SeenPerson(recording=recording_of_video(video.identity), name=name, consent=consent),),
            video=video,
            models=models,
            config=config,
        )

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Fetch the video if it is elsewhere, track the person in it and commit the track.

        Raises:
            PegasusError: ASSET_MISSING if this worker's model files differ from those of the plan; as `fetched`.
        """
        if _model_files(self.config) != self.models:
            message = "this worker has other model files than the driver; fetch the models, or import the rig, on both"
            raise PegasusError(Reason.ASSET_MISSING, message, subject=self.subject)
        with fetched(self.video, verify=True, progress=lambda _, text: progress(0.0, text)) as (path, sha256):
            observed = observe_video(path, self.config, progress)
        track = track_observed(observed, self.config, progress)
        files = (("video", sha256), *self.models)
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
