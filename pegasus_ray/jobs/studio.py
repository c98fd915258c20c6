"""Procedural people of the studio, put into a library as tracks with exact truth, or filmed as video files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np

from pegasus_ray.jobs.results import read_track
from pegasus_ray.jobs.stage_job import StageJob, identify
from pegasus_ray.library.images import encode_png, normals_to_rgb
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes
from pegasus_ray.library.tracks import Truth, load_truth, save_track
from pegasus_ray.perception.overlay import LABEL_COLOURS
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.manifests import Manifest, SeenPerson, Stage
from pegasus_ray.schemas.parts import Label
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.studio.film.render import PICTURE_VERSION, render_frames, restore_wall, track_of_frames
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.person import Person

NOBODY = "a person of the studio, who does not exist"
"""Stands in the place of a consent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioConfig:
    """How a person of the studio is filmed."""

    frames: int = 60
    fps: float = 12.5
    size: int = 128
    seed: int | None = None  # of the motion; by default the person's own


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioJob(StageJob):
    """The rendering of a procedural person as a track that holds the truth instead of what perception finds."""

    stage: ClassVar[Stage] = Stage.TRACK
    person: Person
    config: StudioConfig

    @classmethod
    def plan(cls, person: Person, config: StudioConfig) -> StudioJob:
        """The job for one person."""
        settings = {"studio": config, "person": person, "look": PICTURE_VERSION}
        key, work = identify(cls.stage, {}, settings)
        shown = SeenPerson(recording=key, name=person.name, consent=NOBODY)
        return cls(key=key, work=work, subject=person.name, seen=(shown,), person=person, config=config)

    def run(self, library: Library, progress: Progress, scratch: Path) -> Manifest:
        """Render every frame of the performance, commit."""
        motion = perform(self.person, self.config.frames, self.config.fps, self.config.seed)
        frames = []
        for frame in render_frames(self.person, motion, size=self.config.size):
            frames.append(frame)
            progress(len(frames) / len(motion), f"{len(frames)} of {len(motion)} frames")
        track = track_of_frames(self.person, motion, frames)
        truth = Truth(
            depth=np.stack([np.where(np.isfinite(frame.depth), frame.depth, 0) for frame in frames]),
            normals=np.stack([normals_to_rgb(frame.normals) for frame in frames]),
        )
        facts = self.provenance(
            self.config,
            source=track.source,
            rig=track.rig,
            seed=self.person.seed if self.config.seed is None else self.config.seed,
            summary={"frames": len(track)},
        )
        return save_track(library, self.key, track, facts, truth=truth)


def export_videos(library: Library, tracks: Sequence[str], folder: Path, fps: float) -> list[Path]:
    """Write tracks as video files named after their sources, and return their paths; tracks that are not there are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for key in tracks:
        if library.exists(StudioJob.stage.kind, key):
            track = read_track(library.location, key)
            path = folder / f"{library.expect(StudioJob.stage.kind, key).source}.mp4"
            write_video(restore_wall(track), path, fps)
            written.append(path)
    return written


def draw_contact_sheet(
    library: Library, tracks: Sequence[str], path: Path, *, frames: int = 3, side: int = 256
) -> None:
    """Draw a PNG with a row for each track: some frames, evenly spaced, each with its part map and normals beside it.

    Raises:
        PegasusError: BAD_REFERENCE if none of the tracks is there.
    """
    palette = np.array([LABEL_COLOURS[label] for label in Label], np.uint8)
    rows = []
    for key in tracks:
        if library.exists(StudioJob.stage.kind, key):
            track, truth = read_track(library.location, key), load_truth(library, key)
            layers = [restore_wall(track), palette[track.parts], *([truth.normals] if truth else [])]
            cells = [_scaled(pictures[frame], side) for frame in evenly(len(track), frames) for pictures in layers]
            rows.append(np.concatenate(cells, axis=1))
    if not rows:
        raise PegasusError(Reason.BAD_REFERENCE, "holds none of these people", subject=library.location)
    widest = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, widest - row.shape[1]), (0, 0))) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.concatenate(rows)))


def _scaled(picture: Bytes, side: int) -> Bytes:
    return np.asarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def film_video(person: Person, config: StudioConfig, path: Path, progress: Progress | None = None) -> Path:
    """Film a person into a video file, which is written whole or not at all; its folder is made."""
    motion = perform(person, config.frames, config.fps, config.seed)
    path.parent.mkdir(parents=True, exist_ok=True)

    def pictures() -> Iterator[Bytes]:
        for number, frame in enumerate(render_frames(person, motion, size=config.size)):
            if progress:
                progress(number / len(motion), f"{number} of {len(motion)} frames")
            yield frame.image

    write_video(pictures(), path, config.fps)
    return path
