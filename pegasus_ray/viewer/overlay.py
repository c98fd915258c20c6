"""Tracks drawn over their videos, for people to judge them by."""

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

_SLOWEST, _FASTEST = 10.0, 30.0  # frames a second


def overlay_paths(tracks: Mapping[str, str], out: Path) -> dict[str, Path]:
    """Where the overlay of each track goes, by key.

    Args:
        tracks: what each track is of, by key.
        out: a video (`.mp4`) for one track; for more, a folder, in which they have the names of what they are of.

    Raises:
        PegasusError: BAD_CONFIG for one video and several tracks.
    """
    if out.suffix != ".mp4":
        return {key: out / f"{PurePath(subject).stem}-{key[:4]}.mp4" for key, subject in tracks.items()}
    if len(tracks) > 1:
        raise PegasusError(
            Reason.BAD_CONFIG, "is one video and the tracks are several; name a folder", subject=f"--overlay {out}"
        )
    return dict.fromkeys(tracks, out)


def write_overlays(library: Library, paths: Mapping[str, Path], *, side: int = 512) -> list[Path]:
    """Draw tracks (`draw_overlay`) into video files, each whole or not at all; tracks that are not there are left out."""
    written = []
    for key, path in paths.items():
        if library.exists(Kind.TRACKS, key):
            track = read_track(library.location, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            seconds = float(np.median(np.diff(track.times))) if len(track) > 1 else 0.0
            fps = min(max(1 / max(seconds, 1e-3), _SLOWEST), _FASTEST)
            write_video(draw_overlay(track, load_rig(track.rig), side=side), path, fps)
            written.append(path)
    return written
