"""Draws a person into a video or a sheet of pictures, or writes their points to a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pegasus_ray.jobs.results import read_track
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.render.images import contact_sheet
from pegasus_ray.render.video import write_video
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.render import turntable as turntable_angles
from pegasus_ray.viewer.dressed_person import DressedPerson
from pegasus_ray.viewer.export import points_as_ply
from pegasus_ray.viewer.output_file import writing_to

DEFAULT_FPS = 25.0
"""Frames per second of a video that shows a choice of frames, or whose track has no duration."""
TURNTABLE_FRAMES = 60
"""Frames of a turntable if no number is asked for."""
SHEET_COLUMNS = 6
"""Greatest number of pictures side by side in a sheet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """How a person is moved and pictured."""

    driver: str  # key of the track that gives motion and camera
    unseen: bool = False  # only the frames that no fit has seen
    turntable: bool = False  # hold the middle frame and turn the person about
    most: int | None = None  # greatest number of frames, evenly spaced; by default all
    size: int | None = None  # side in pixels; by default the track's own


def draw_person(
    library: Library, person: DressedPerson, shot: Shot, out: Path, *, progress: Progress | None = None
) -> int:
    """Draw a person into a file and return the number of pictures.

    Args:
        library: holds the driving track.
        person: whom to draw.
        shot: how they are moved and pictured.
        out: a video (`.mp4`), or a sheet of pictures (`.png`); its folder is made.
        progress: told the share done and a short text.

    Raises:
        PegasusError: BAD_REFERENCE if there is no such track; BAD_CONFIG if the file cannot be written.
    """
    track = read_track(library.location, shot.driver)
    frames = frames_to_draw(track, unseen=shot.unseen, most=shot.most)
    turns: list[float] = []
    if shot.turntable:
        turns = turntable_angles(shot.most or TURNTABLE_FRAMES)
        frames = [frames[len(frames) // 2]] * len(turns)
    clip = render_clip(person.avatar, track, frames=frames, size=shot.size, turns=turns, points=person.points())
    pictures = _with_progress(clip, len(frames), progress)
    with writing_to(out):
        if out.suffix == ".png":
            out.write_bytes(encode_png(contact_sheet(list(pictures), columns=min(len(frames), SHEET_COLUMNS))))
        else:
            write_video(pictures, out, frames_per_second(track) if shot.most is None else DEFAULT_FPS)
    return len(frames)


def export_points(person: DressedPerson, out: Path) -> int:
    """Write a person's points at rest as a PLY file and return their number.

    Raises:
        PegasusError: BAD_CONFIG if the file cannot be written.
    """
    points = person.points()
    with writing_to(out):
        out.write_bytes(points_as_ply(points, load_rig(person.avatar.rig)))
    return len(points)


def frames_to_draw(track: Track, *, unseen: bool = False, most: int | None = None) -> list[int]:
    """Numbers of the frames to draw: all, or those that no fit has seen, and of these at most `most`, evenly spaced."""
    frames = track.held_out()[1] if unseen else np.arange(len(track))
    if most is not None:
        frames = frames[evenly(len(frames), most)]
    return [int(frame) for frame in frames]


def frames_per_second(track: Track) -> float:
    """Rate at which a clip of all frames lasts as long as the track, but at least 10 and at most 60."""
    seconds = float(track.times[-1] - track.times[0])
    return float(np.clip((len(track) - 1) / seconds, 10, 60)) if seconds > 0 else DEFAULT_FPS


def _with_progress(pictures: Iterator[Bytes], count: int, progress: Progress | None) -> Iterator[Bytes]:
    for number, picture in enumerate(pictures):
        if progress:
            progress(number / count, f"{number} of {count} frames")
        yield picture
