"""Draws tracks over the frames they come from, so that people can judge them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath

import numpy as np

from pegasus_ray.jobs.results import read_track
from pegasus_ray.library.library import Library
from pegasus_ray.perception.overlay import draw_overlay
from pegasus_ray.render.video import write_video
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind

_MIN_FPS = 10.0  # frames per second of the drawn video, whatever the track's rate
_MAX_FPS = 30.0


def overlay_paths(tracks: Mapping[str, str], out: Path) -> dict[str, Path]:
    """The video file for the overlay of each track, by key.

    Args:
        tracks: name of the video that each track is of, by key.
        out: a video file (`.mp4`) for one track; for several, a folder, in which the files are named after the videos.

    Raises:
        PegasusError: BAD_CONFIG if `out` is one video and there are several tracks.
    """
    if out.suffix != ".mp4":
        return {key: out / f"{PurePath(subject).stem}-{key[:4]}.mp4" for key, subject in tracks.items()}
    if len(tracks) > 1:
        raise PegasusError(
            Reason.BAD_CONFIG, "is one video and the tracks are several; name a folder", subject=f"--overlay {out}"
        )
    return dict.fromkeys(tracks, out)


def write_overlays(library: Library, paths: Mapping[str, Path], *, side: int = 512) -> list[Path]:
    """Draw tracks into video files and return those that were written; tracks that are not there are left out.

    Each file is written whole or not at all.
    """
    written = []
    for key, path in paths.items():
        if library.exists(Kind.TRACKS, key):
            track = read_track(library.location, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = float(np.median(np.diff(track.times))) if len(track) > 1 else 0.0
            fps = min(max(1 / max(seconds, 1e-3), _MIN_FPS), _MAX_FPS)
            write_video(draw_overlay(track, load_rig(track.rig), side=side), path, fps)
            written.append(path)
    return written
