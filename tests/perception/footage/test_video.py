"""Frames come upright and with their own numbers; every file that is no video is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.perception.footage import video
from pegasus_ray.perception.footage.video import open_video
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.perception.videos import hasten, turn, write_video


def reason_of(path: Path, least: int = 1) -> Reason:
    with pytest.raises(PegasusError) as caught:
        open_video(path, least=least)
    assert caught.value.subject == str(path)
    return caught.value.reason


def test_frames_carry_their_numbers_and_times(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.mp4", frames=41))
    assert (video.frames, video.announced, video.fps) == (41, 41, 25.0)
    chosen = np.arange(0, 41, 4)
    seen = list(video.read(chosen))
    assert [frame.index for frame in seen] == chosen.tolist()
    assert np.allclose([frame.time for frame in seen], chosen / 25, atol=1e-3)
    grey = [int(frame.image[-4:, -4:].mean()) for frame in seen]
    assert np.allclose(grey, 4 * chosen, atol=6), "the frame of that number, not a neighbour"


def test_colours_are_rgb(tmp_path: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "red.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 25, (64, 48))
    for _ in range(3):
        writer.write(np.full((48, 64, 3), (0, 0, 220), np.uint8))
    writer.release()
    (frame, *_) = open_video(tmp_path / "red.mp4").read([0])
    red, green, blue = frame.image.reshape(-1, 3).mean(0)
    assert red > 180
    assert max(green, blue) < 40


def test_a_turned_telephone_video_comes_upright(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=3)
    turn(path)
    (frame,) = open_video(path).read([0])
    assert frame.image.shape == (64, 48, 3)
    assert frame.image[:24, 30:].mean() > 200, "the white quarter went from upper left to upper right"
    assert frame.image[40:, :].mean() < 60


def test_at_a_variable_rate_times_are_the_presentations(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", frames=6, fps=25.0)
    hasten(path, first=3, factor=4)
    steps = np.diff([frame.time for frame in open_video(path).read(range(6))])
    assert np.allclose(steps[:3], 1 / 100, atol=2e-3)
    assert np.allclose(steps[3:], 1 / 25, atol=2e-3)


def test_large_pictures_are_made_smaller_as_they_are_read(tmp_path: Path) -> None:
    video = open_video(write_video(tmp_path / "a.mp4", frames=2, width=640, height=360))
    (frame,) = video.read([1], longest=200)
    assert frame.image.shape == (90, 160, 3)
    assert frame.scale == 4
    assert frame.image[:40, :75].mean() > 200
    assert frame.image[50:].mean() < 40
    (whole,) = video.read([1], longest=640)
    assert whole.image.shape == (360, 640, 3)
    assert whole.scale == 1


@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "MJPG"), (".mkv", "mp4v"), (".mov", "mp4v"), (".webm", "VP80")])
def test_other_containers_and_codecs_are_read(tmp_path: Path, suffix: str, codec: str) -> None:
    import cv2

    path = tmp_path / f"a{suffix}"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (64, 48))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {codec}")
    for index in range(8):
        writer.write(np.full((48, 64, 3), 20 * index, np.uint8))
    writer.release()
    video = open_video(path)
    assert video.frames == 8
    assert np.allclose([frame.image.mean() for frame in video.read(range(8))], 20 * np.arange(8), atol=8)


def test_missing_empty_and_text(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "none.mp4") is Reason.NOT_FOUND
    assert reason_of(tmp_path) is Reason.NOT_FOUND
    (tmp_path / "empty.mp4").touch()
    assert reason_of(tmp_path / "empty.mp4") is Reason.EMPTY_FILE
    (tmp_path / "text.mp4").write_text("this is a letter\n" * 200)
    assert reason_of(tmp_path / "text.mp4") is Reason.NOT_A_VIDEO


@pytest.mark.parametrize(("bound", "most"), [("MAX_PIXELS", 64 * 48 - 1), ("MAX_FRAMES", 9)])
def test_a_video_beyond_a_bound_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    path = write_video(tmp_path / "a.mp4", frames=10)
    monkeypatch.setattr(video, bound, most + 1)
    assert open_video(path).frames == 10
    monkeypatch.setattr(video, bound, most)
    assert reason_of(path) is Reason.NOT_A_VIDEO


def test_one_frame_is_too_few_where_more_are_needed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", frames=1)
    assert open_video(path).frames == 1
    assert reason_of(path, least=2) is Reason.TOO_FEW_FRAMES


def test_a_file_without_its_index_is_truncated(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.mp4", frames=30).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert reason_of(tmp_path / "cut.mp4") is Reason.TRUNCATED


def test_what_decodes_of_a_cut_file_is_used_if_enough(tmp_path: Path) -> None:
    cut = cut_after_index(write_video(tmp_path / "whole.mp4", frames=40), tmp_path / "cut.mp4")
    video = open_video(cut, least=5)
    assert video.announced == 40
    assert 5 <= video.frames < 40
    chosen = [0, video.frames // 2, video.frames - 1]
    assert [frame.index for frame in video.read(chosen)] == chosen
    assert reason_of(cut, least=39) is Reason.TRUNCATED


def cut_after_index(path: Path, target: Path) -> Path:
    """The same video as streaming files are laid out, index first, and cut in the middle of its pictures."""
    content = path.read_bytes()
    boxes: dict[bytes, bytes] = {}
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4])
        boxes[content[at + 4 : at + 8]] = content[at : at + size]
        at += size
    moov = bytearray(boxes[b"moov"])
    before = content.index(boxes[b"mdat"])
    table = moov.index(b"stco") + 8
    shift = len(boxes[b"ftyp"]) + len(moov) - before
    for entry in range(int.from_bytes(moov[table : table + 4])):
        offset = table + 4 + 4 * entry
        moved = int.from_bytes(moov[offset : offset + 4]) + shift
        moov[offset : offset + 4] = moved.to_bytes(4)
    mdat = boxes[b"mdat"]
    target.write_bytes(boxes[b"ftyp"] + bytes(moov) + mdat[: len(mdat) // 2])
    return target
