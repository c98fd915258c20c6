"""Contact sheets place each picture; a video is written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from pegasus_ray.render.images import contact_sheet
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.errors import PegasusError, Reason


def test_contact_sheet_places_pictures_in_rows() -> None:
    images = [np.full((4, 6, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    sheet = contact_sheet(images, columns=2, gap=1)
    assert sheet.shape == (9, 13, 3)
    assert sheet[0, 0, 0] == 10
    assert sheet[0, 7, 0] == 20
    assert sheet[5, 0, 0] == 30
    assert sheet[5, 7, 0] == sheet[4, 0, 0] == 255
    with pytest.raises(PegasusError):
        contact_sheet([], columns=2)


def frames(count: int) -> Iterator[np.ndarray]:
    for number in range(count):
        picture = np.zeros((48, 64, 3), dtype=np.uint8)
        picture[..., 0] = 200
        picture[..., 2] = 20 * number
        yield picture


def test_a_video_has_its_frames_in_order_and_in_rgb(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    assert write_video(frames(6), path, fps=25) == 6
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == 25
    read = []
    while (answer := video.read())[0]:
        read.append(cv2.cvtColor(answer[1], cv2.COLOR_BGR2RGB))
    assert len(read) == 6
    for number, picture in enumerate(read):
        assert np.abs(picture.mean(axis=(0, 1)) - [200, 0, 20 * number]).max() < 12
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_writing_leaves_the_old_video(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"old")

    def breaking() -> Iterator[np.ndarray]:
        yield from frames(2)
        raise RuntimeError("the renderer failed")

    with pytest.raises(RuntimeError, match="the renderer failed"):
        write_video(breaking(), path, fps=25)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_frames_and_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(PegasusError) as caught:
        write_video([], path, fps=25)
    assert caught.value.reason is Reason.TOO_FEW_FRAMES
    with pytest.raises(PegasusError) as caught:
        write_video([*frames(1), np.zeros((10, 10, 3), dtype=np.uint8)], path, fps=25)
    assert caught.value.reason is Reason.BAD_CONFIG
    assert not list(tmp_path.iterdir())
