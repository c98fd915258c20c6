"""Overlays are written where they were asked for, one for each track; a track that failed has none."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from pegasus_ray.library.library import Library
from pegasus_ray.library.tracks import save_track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Provenance
from pegasus_ray.viewer.overlay import overlay_paths, write_overlays

from ..painted import FRAMES, painted_track

ONE, OTHER = "a" * 16, "b" * 16


def test_one_video_or_a_folder() -> None:
    assert overlay_paths({ONE: "x/ada.mp4"}, Path("seen.mp4")) == {ONE: Path("seen.mp4")}
    several = overlay_paths({ONE: "x/ada.mp4", OTHER: "y/ada.mov"}, Path("seen"))
    assert several == {ONE: Path("seen/ada-aaaa.mp4"), OTHER: Path("seen/ada-bbbb.mp4")}
    with pytest.raises(PegasusError) as caught:
        overlay_paths({ONE: "x/ada.mp4", OTHER: "y/ada.mov"}, Path("seen.mp4"))
    assert caught.value.reason is Reason.BAD_CONFIG


def test_every_frame_of_a_track_is_drawn_and_what_is_not_there_is_not(tmp_path: Path) -> None:
    library = Library(tmp_path / "library")
    save_track(library, ONE, painted_track(), Provenance())
    paths = {ONE: tmp_path / "seen" / "one.mp4", OTHER: tmp_path / "seen" / "other.mp4"}
    assert write_overlays(library, paths, side=96) == [paths[ONE]]
    video = cv2.VideoCapture(str(paths[ONE]))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert video.get(cv2.CAP_PROP_FRAME_WIDTH) == 3 * 96
    assert not paths[OTHER].exists()
