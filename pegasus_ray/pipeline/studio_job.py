"""Studio people into a library: a performance rendered as a track with exact truth, or filmed as a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from pegasus_ray.library.images import normals_to_rgb
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes
from pegasus_ray.library.tracks import Truth, save_track
from pegasus_ray.pipeline.results import provenance, read_track
from pegasus_ray.pipeline.stage_job import StageJob, plan_key
from pegasus_ray.pipeline.work import Progress, Summary
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.manifests import Stage
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.people import Person
from pegasus_ray.studio.render import as_track, film


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioConfig:
    """How somebody is filmed."""

    frames: int = 60
    fps: float = 12.5
    size: int = 128
    seed: int | None = None  # of the motion; the person's own where it is not given


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioJob(StageJob):
    """A person who does not exist becomes a track, with the truth in place of perception."""

    stage: ClassVar[Stage] = Stage.TRACK
    person: Person
    config: StudioConfig

    @classmethod
    def plan(cls, person: Person, config: StudioConfig) -> StudioJob:
        """The job for one person."""
        wishes = {"studio": config, "person": person}
        return cls(key=plan_key(cls.stage, {}, wishes), subject=person.name, person=person, config=config)

    def run(self, library: Library, progress: Progress, scratch: Path) -> Summary:
        """Render every frame, commit."""
        motion = perform(self.person, self.config.frames, self.config.fps, self.config.seed)

        frames = []
        for frame in film(self.person, motion, size=self.config.size):
            frames.append(frame)
            progress(len(frames) / len(motion), f"{len(frames)} of {len(motion)} frames")
        track = as_track(self.person, motion, frames)
        truth = Truth(
            depth=np.stack([np.where(np.isfinite(frame.depth), frame.depth, 0) for frame in frames]),
            normals=np.stack([normals_to_rgb(frame.normals) for frame in frames]),
        )
        facts = provenance(
            {},
            self.config,
            source=track.source,
            rig=track.rig,
            seed=self.person.seed if self.config.seed is None else self.config.seed,
            summary={"frames": len(track)},
        )
        return save_track(library, self.key, track, facts, truth=truth).summary


def export_videos(library: Library, tracks: Sequence[str], folder: Path, fps: float) -> list[Path]:
    """The frames of tracks as video files named after their sources; those that are not there are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for key in tracks:
        if library.exists(StudioJob.stage.kind, key):
            track = read_track(library.location, key)
            path = folder / f"{library.expect(StudioJob.stage.kind, key).source}.mp4"
            write_video(track.images, path, fps)
            written.append(path)
    return written


def film_video(person: Person, config: StudioConfig, path: Path, progress: Progress | None = None) -> Path:
    """The same performance as a video file, whole or not at all; its folder is made."""
    motion = perform(person, config.frames, config.fps, config.seed)
    path.parent.mkdir(parents=True, exist_ok=True)

    def pictures() -> Iterator[Bytes]:
        for number, frame in enumerate(film(person, motion, size=config.size)):
            if progress:
                progress(number / len(motion), f"{number} of {len(motion)} frames")
            yield frame.image

    write_video(pictures(), path, config.fps)
    return path
