"""`pegasus track` gives a reason for each unusable video and leaves nothing of it, and counts the frames it drops."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pegasus_ray.library.library import Library
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.manifests import Kind

from ..perception.conftest import Filmed, filmed, models
from .conftest import run

__all__ = ["filmed", "models"]  # fixtures


def test_bad_videos_are_named_and_nothing_is_left_of_them(models: None, tmp_path: Path) -> None:
    grey = [np.full((64, 96, 3), 100, np.uint8)] * 12
    write_video(grey, tmp_path / "nobody.mp4", 10.0)
    write_video(grey[:1], tmp_path / "one.mp4", 10.0)
    whole = (tmp_path / "nobody.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "letter.mp4").write_text("Dear friend,\n" * 99)
    reasons = {
        "nobody": "no_face",
        "one": "too_few_frames",
        "cut": "truncated",
        "empty": "empty_file",
        "letter": "not_a_video",
        "gone": "not_found",
    }
    videos = [tmp_path / f"{name}.mp4" for name in reasons]
    seen = tmp_path / "seen"
    said = run("track", *videos, "--library", tmp_path / "lib", "--engine", "inline", "--overlay", seen, "--json")
    assert said.code == 1
    assert {Path(item["input"]).stem: item["reason"] for item in said.json["failed"]} == reasons
    assert all(item["message"] and item["stage"] == "track" for item in said.json["failed"])
    assert said.json["done"] == []
    left = [path for path in (tmp_path / "lib").rglob("*") if path.is_file() and "ledger" not in path.parts]
    assert [path.name for path in left] == ["library.json"]
    assert not seen.exists() or list(seen.iterdir()) == []


@pytest.mark.slow
def test_a_clip_with_gaps_is_tracked_drawn_and_its_losses_counted(models: None, filmed: Filmed, tmp_path: Path) -> None:
    images = list(filmed.truth.images)
    video, seen = tmp_path / "gaps.mp4", tmp_path / "seen.mp4"
    write_video([*images, np.full_like(images[0], 90), *images[:3]], video, 5.0)
    options = ["--library", tmp_path / "lib", "--engine", "inline", "--size", "96", "--json"]
    said = run("track", video, "--overlay", seen, *options, "--set", "track.observe.parser=landmarks")
    assert said.code == 0, said.err
    (item,) = said.json["items"]
    assert item["figures"]["frames"] == 9
    assert item["figures"]["dropped_no_face"] == 1
    assert item["figures"]["dropped"] == "no_face: 6"
    manifest = Library(tmp_path / "lib").expect(Kind.TRACKS, item["key"])
    assert {name: manifest.summary[name] for name in ("frames", "frames_looked_at", "dropped")} == {
        "frames": 9,
        "frames_looked_at": 10,
        "dropped": "no_face: 6",
    }
    assert cv2.VideoCapture(str(seen)).get(cv2.CAP_PROP_FRAME_COUNT) == 9
