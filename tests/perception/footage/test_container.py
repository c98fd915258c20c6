"""FFmpeg is given containers of pictures alone, and told to open nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from pegasus_ray.perception.footage.container import SETTING, check_container, restrict_ffmpeg
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.perception.videos import write_video

TRANSPORT = (b"G" + bytes(187)) * 8
CAMERA = (bytes(4) + b"G" + bytes(187)) * 8


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "")


@pytest.mark.parametrize(
    "content",
    [
        b"\0\0\0\x1cftypisom", b"\0\0\0\x08wide\0\0\0\0mdat", b"\x1aE\xdf\xa3", b"RIFF\0\0\0\0AVI LIST", b"OggS", b"GIF89a",
        b"FLV\x01", TRANSPORT, CAMERA,
    ],
)  # fmt: skip
def test_a_container_is_known_by_its_first_bytes(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any name"
    path.write_bytes(content)
    check_container(path)


@pytest.mark.parametrize(
    "content", [b"", b"G", b"Good day" * 99, b"RIFF\0\0\0\0WAVE", b"\xff\xd8\xff\xe0", b" \n#extm3u\n"]
)
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(PegasusError) as caught:
        check_container(path)
    assert caught.value.reason is Reason.NOT_A_VIDEO and caught.value.subject == str(path)


def test_what_the_user_has_set_for_ffmpeg_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "hwaccel;cuda|protocol_whitelist;file,crypto")
    restrict_ffmpeg()
    once = os.environ[SETTING]
    restrict_ffmpeg()
    assert os.environ[SETTING] == once
    assert once.startswith("hwaccel;cuda|protocol_whitelist;file,crypto|format_whitelist;mov,")


def test_ffmpeg_opens_no_list_that_passes_for_a_video(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames=3)
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile 'a.mp4'\n")
    assert cv2.VideoCapture(str(tmp_path / "list.mp4"), cv2.CAP_FFMPEG).isOpened(), "the danger is real"
    restrict_ffmpeg()
    assert not cv2.VideoCapture(str(tmp_path / "list.mp4"), cv2.CAP_FFMPEG).isOpened()
    assert cv2.VideoCapture(str(tmp_path / "a.mp4"), cv2.CAP_FFMPEG).isOpened()
