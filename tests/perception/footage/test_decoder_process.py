"""Whatever happens to the process that decodes costs that video alone; none is left behind; pictures are those of OpenCV.

The process is replaced by one that lies where lies are tested. Crashes are signals from outside.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from pegasus_ray.perception.footage import decoder, decoder_process, video
from pegasus_ray.perception.footage.decoder import ANSWER, Answer, Says
from pegasus_ray.perception.footage.decoder_process import DecoderProcess, Limits
from pegasus_ray.perception.footage.video import open_video
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.perception.videos import write_video

PIXELS = 64 * 48
ORPHAN = """
import sys
from pathlib import Path
from pegasus_ray.perception.footage.decoder_process import DecoderProcess
with DecoderProcess(Path(sys.argv[1]), pixels=10**6) as decoder:
    next(decoder.pictures(range(9)))
    print(decoder.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "a.mp4", frames=41)


def children() -> set[int]:
    """The processes that this one has started and that are still there, dead ones that nobody has asked about among them."""
    lines = subprocess.run(["ps", "-A", "-o", "ppid=,pid=,args="], capture_output=True, text=True, check=True).stdout
    rows = (line.split(None, 2) for line in lines.splitlines())
    return {int(pid) for parent, pid, name in rows if int(parent) == os.getpid() and not name.startswith("ps ")}


def is_running(pid: int) -> bool:
    shown = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return shown.strip() not in ("", "Z", "Zs")


def hostile(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have this code run as the decoder; it ends when it is asked nothing more."""
    monkeypatch.setattr(decoder_process, "command_of", lambda *_: [sys.executable, "-c", code])


def answering(monkeypatch: pytest.MonkeyPatch, *answers: Answer, often: int = 1) -> None:
    head = b"".join(ANSWER.pack(*answer) for answer in answers)
    code = (
        f"import sys; o = sys.stdout.buffer; [o.write({head!r}) for _ in range({often})]; o.flush(); sys.stdin.read()"
    )
    hostile(monkeypatch, code)


def refusal(path: Path, index: int = 0, longest: int | None = None, limits: Limits | None = None) -> PegasusError:
    """The error for one frame; none of the process may be left after it."""
    before = children()
    with (
        pytest.raises(PegasusError) as caught,
        DecoderProcess(path, pixels=PIXELS, longest=longest, limits=limits) as process,
    ):
        list(process.pictures([index]))
    assert children() == before
    assert caught.value.subject == str(path)
    return caught.value


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "mp4v"), (".avi", "MJPG"), (".webm", "VP80"), (".mkv", "FFV1")])
@pytest.mark.parametrize("longest", [None, 100])
def test_pictures_are_those_of_opencv_to_the_last_bit(
    tmp_path: Path, suffix: str, codec: str, longest: int | None
) -> None:
    path, noise = tmp_path / f"a{suffix}", np.random.default_rng(0)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), 25, (322, 242))
    if not writer.isOpened():
        pytest.skip(f"this OpenCV writes no {codec}")
    for _ in range(12):
        writer.write(cv2.resize(noise.integers(0, 255, (24, 32, 3), np.uint8), (322, 242)))
    writer.release()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    seen = 0
    for frame in open_video(path).read(range(12), longest=longest):
        assert capture.grab()
        expected = capture.retrieve()[1]
        if longest:
            expected = cv2.resize(expected[:240, :320], (80, 60), interpolation=cv2.INTER_AREA)
        assert np.array_equal(frame.image, expected[..., ::-1])
        assert frame.time == (capture.get(cv2.CAP_PROP_POS_MSEC) / 1000 or frame.index / 25)
        assert frame.image.flags.c_contiguous and frame.image.flags.writeable
        assert frame.scale == (4 if longest else 1)
        seen += 1
    assert seen == 12


def test_several_videos_are_read_at_once(clip: Path, tmp_path: Path) -> None:
    other = write_video(tmp_path / "b.mp4", frames=9, width=32, height=32)
    pairs = list(zip(open_video(clip).read(range(9)), open_video(other).read(range(9)), strict=True))
    assert [(a.index, a.image.shape, b.index, b.image.shape) for a, b in pairs] == [
        (i, (48, 64, 3), i, (32, 32, 3)) for i in range(9)
    ]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL])
def test_a_crash_is_an_error_of_this_video(clip: Path, number: signal.Signals) -> None:
    with pytest.raises(PegasusError) as caught, DecoderProcess(clip, pixels=PIXELS) as process:
        pictures = process.pictures(range(41))
        next(pictures)
        os.kill(process.pid, number)
        list(pictures)
    killed = number is signal.SIGKILL  # from outside: by the system, where memory runs out
    assert caught.value.reason is (Reason.OUT_OF_MEMORY if killed else Reason.NOT_A_VIDEO)
    assert number.name in caught.value.message and "ffmpeg -i FILE" in caught.value.message
    assert caught.value.subject == str(clip)
    assert not is_running(process.pid)
    assert open_video(clip).frames == 41


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not keep the limit")
@pytest.mark.parametrize(
    "beyond", [-(1 << 28), 1 << 20, 32 << 20]
)  # bytes, of what the program has when it has started
def test_the_memory_limit_bites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beyond: int) -> None:
    path = write_video(tmp_path / "large.mp4", frames=2, width=2048, height=2048)
    with DecoderProcess(path, pixels=PIXELS) as process:
        process.size()
        pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + beyond
    before = children()
    monkeypatch.setattr(video, "LIMITS", Limits(memory=limit))
    with pytest.raises(PegasusError, match="GiB of memory to decode; make the pictures smaller: ffmpeg") as caught:
        list(open_video(path).read(range(2)))
    assert caught.value.reason is Reason.NOT_A_VIDEO and caught.value.subject == str(path)
    assert children() == before
    monkeypatch.setattr(video, "LIMITS", Limits())
    assert len(list(open_video(path).read(range(2)))) == 2


def test_the_time_limit_bites(clip: Path) -> None:
    error = refusal(clip, limits=Limits(seconds=1e-4))
    assert error.reason is Reason.NOT_A_VIDEO
    assert (
        error.message == "its decoder took longer than 0.0001 seconds for a frame; re-encode it: ffmpeg -i FILE out.mp4"
    )


def test_a_process_that_ignores_its_own_limits_is_ended(clip: Path) -> None:
    began = time.monotonic()
    limits = Limits(seconds=0.5, grace=0.5)
    with (
        pytest.raises(PegasusError, match=re.escape("longer than 0.5 seconds")) as caught,
        DecoderProcess(clip, pixels=PIXELS, limits=limits) as process,
    ):
        pictures = process.pictures(range(41))
        next(pictures)
        os.kill(process.pid, signal.SIGSTOP)
        list(pictures)
    assert caught.value.reason is Reason.NOT_A_VIDEO
    assert time.monotonic() - began < decoder_process.START_SECONDS / 4
    assert not is_running(process.pid)


def test_the_reader_may_take_longer_than_the_limit(clip: Path) -> None:
    with DecoderProcess(clip, pixels=PIXELS, limits=Limits(seconds=1.0)) as process:
        pictures = process.pictures(range(41))
        next(pictures)
        time.sleep(1.5)
        assert len(list(pictures)) == 40


@pytest.mark.parametrize("end", ["close", "error", "forget"])
def test_who_stops_early_leaves_no_process(clip: Path, end: str) -> None:
    before = children()
    frames = open_video(clip).read(range(41))
    assert children() == before, "nothing is started before a frame is asked for"
    next(frames)
    assert len(children() - before) == 1
    if end == "close":
        frames.close()
    elif end == "error":
        with pytest.raises(ZeroDivisionError):
            frames.throw(ZeroDivisionError)
    else:
        del frames
    assert children() == before


def test_it_ends_when_its_reader_is_killed(clip: Path) -> None:
    large = write_video(clip.with_name("large.mp4"), frames=9, width=1280, height=720)  # more than the pipe holds
    reader = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(large)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    pid = int(reader.stdout.readline())
    assert is_running(pid)
    reader.kill()
    reader.communicate()
    deadline = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(pid)


MOST = 0xFFFFFFFF
LIES = {
    "large": (Answer(Says.PICTURE, MOST, MOST, 1), None, f"has {MOST}×{MOST} pixels, more than {PIXELS}"),
    "wide": (Answer(Says.PICTURE, 1, PIXELS + 1, 1), None, "more than"),
    "reduced from a large one": (Answer(Says.PICTURE, 48, 32, 2), 48, "more than"),
    "not reduced": (Answer(Says.PICTURE, 48, 64, 1), 48, "cannot be"),
    "reduced unasked": (Answer(Says.PICTURE, 8, 8, 2), None, "cannot be"),
    "no height": (Answer(Says.PICTURE, 0, 64, 1), None, "cannot be"),
    "no scale": (Answer(Says.PICTURE, 48, 64, 0), None, "cannot be"),
    "another frame": (Answer(Says.PICTURE, 48, 64, 1, 7), None, "cannot be"),
    "another answer": (Answer(Says.COUNT, number=7), None, "cannot be"),
    "no answer": (Answer(99), None, "cannot be"),
    "passed too many": (Answer(Says.PASSED, number=2), None, "cannot be"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lying_header_is_refused_before_there_is_room_for_it(
    clip: Path, monkeypatch: pytest.MonkeyPatch, lie: str
) -> None:
    answer, longest, wording = LIES[lie]
    answering(monkeypatch, answer)
    tracemalloc.start()
    try:
        error = refusal(clip, longest=longest)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    assert error.reason is Reason.NOT_A_VIDEO and wording in error.message and "ffmpeg -i FILE" in error.message


def test_who_only_says_that_it_is_busy_is_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, Answer(Says.PASSED, number=1), often=10**6)
    assert "cannot be" in refusal(clip).message


def test_a_count_below_zero_is_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, Answer(Says.SIZE, 48, 64), Answer(Says.COUNT, number=-1))
    with pytest.raises(PegasusError, match="cannot be"):
        open_video(clip)


def test_times_and_rates_that_are_no_numbers_are_not_passed_on(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nan, most = float("nan"), 2**63 - 1
    answering(monkeypatch, Answer(Says.SIZE, 48, 64), Answer(Says.COUNT, number=3, announced=-most, real=nan))
    opened = open_video(clip)
    assert (opened.frames, opened.announced, opened.fps) == (3, 3, 25.0)
    for real in (nan, float("inf"), -1.0):
        head = ANSWER.pack(*Answer(Says.PICTURE, 48, 64, 1, 2, real=real)) + bytes(PIXELS * 3)
        hostile(monkeypatch, f"import sys; sys.stdout.buffer.write({head!r})")
        (frame,) = opened.read([2])
        assert frame.time == 2 / 25


@pytest.mark.parametrize("written", [0, 7, ANSWER.size, ANSWER.size + PIXELS])
def test_an_answer_that_is_cut_short_is_an_error(clip: Path, monkeypatch: pytest.MonkeyPatch, written: int) -> None:
    whole = ANSWER.pack(*Answer(Says.PICTURE, 48, 64, 1)) + bytes(PIXELS * 3)
    hostile(monkeypatch, f"import os; os.write(1, {whole[:written]!r}); os.abort()")
    error = refusal(clip)
    assert error.reason is Reason.NOT_A_VIDEO and "SIGABRT" in error.message


def test_a_program_that_does_not_start_is_no_fault_of_the_video(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile(monkeypatch, "raise SystemExit(1)")
    error = refusal(clip)
    assert error.reason is Reason.INTERNAL and "status 1" in error.message


def test_pictures_that_grow_in_the_middle_are_refused(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_video(clip)
    monkeypatch.setattr(video, "MAX_PIXELS", PIXELS - 1)  # as if what was opened had been smaller
    with pytest.raises(PegasusError, match=f"frame 0 has 64×48 pixels, more than {PIXELS - 1}"):
        next(opened.read([0]))


def test_how_far_it_has_come_is_heard_on_the_way(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    always = (
        f"import {decoder.__name__} as it; it._TELL_SECONDS = -1.0; it.Decoder._decodes_to_the_end = lambda *_: False"
    )
    monkeypatch.setattr(
        decoder_process,
        "command_of",
        lambda path, longest, limits: [
            sys.executable, "-c", f"{always}; it.main()", str(path), str(limits.memory), str(limits.seconds), str(longest)
        ],
    )  # fmt: skip
    heard = []
    unpack = Answer._make
    monkeypatch.setattr(decoder_process, "Answer", lambda *fields: heard.append(unpack(fields)) or heard[-1])
    opened = open_video(clip)
    assert opened.frames == 41
    assert [frame.index for frame in opened.read([3, 3, 40])] == [3, 3, 40]
    assert sum(answer.says == Says.PASSED for answer in heard) == 41 + 41


def test_nothing_is_imported_from_the_working_folder(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clip.parent / "cv2.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(clip.parent)
    assert open_video(Path("a.mp4")).frames == 41


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are read from /proc")
def test_the_process_can_write_nothing_and_open_little(clip: Path) -> None:
    with DecoderProcess(clip, pixels=PIXELS) as process:
        process.size()
        rows = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
        limits = {row[:26].strip(): row[26:].split()[:2] for row in rows}
    assert limits["Max file size"] == ["0", "0"]
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["32", "32"]
    assert limits["Max address space"] == [str(Limits().memory)] * 2
