"""The program that decodes one video: a process of its own, with limits, that answers requests over two pipes.

FFmpeg is a large C library, and videos come from strangers: a file can crash it, fill the memory or keep it busy for ever. Here
that ends this process only. `decoder_process.py` starts it anew for each reading of a video and checks all that it says.

    python -m pegasus_ray.perception.footage.decoder PATH BYTES SECONDS LONGEST

BYTES bounds the address space, SECONDS one frame, LONGEST the longer side of the pictures in pixels (0: as they are). Requests
come in on standard input, answers and pixels go out on standard output. It ends when one of the two is closed. Pixels go
through a pipe and not through shared memory: a process that shares memory can cut it short, and the reader then crashes too.

Legend: H, W sides of a picture in pixels.
"""

from __future__ import annotations

import math
import os
import resource
import signal
import struct
import sys
import time
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np

from pegasus_ray.perception.footage.container import restrict_ffmpeg
from pegasus_ray.perception.nets.square import Bytes


class Ask(IntEnum):
    """What a request asks for; its number is given in brackets."""

    SIZE = 1
    COUNT = 2  # frames that decode [stop counting after so many]; no frame can be asked for afterwards
    FRAME = 3  # [its number in the video, not below that of the frame before]


class Says(IntEnum):
    """What an answer says, and which of its fields say it."""

    SIZE = 1  # height, width: of the pictures, by the file's header
    COUNT = 2  # number: of frames that decode; announced; real: frames a second
    PICTURE = 3  # height, width, times, number; real: milliseconds from the start; H · W · 3 bytes of RGB follow
    PASSED = 4  # number: of frames passed over so far; the answer is still to come
    SHUT = 5  # it does not open, or its first frame does not decode
    ENDS = 6  # number: of frames before the end, where a later one was asked for
    BROKEN = 7  # number: that of a frame that does not decode


class Answer(NamedTuple):
    """The head of an answer, laid out as `ANSWER`."""

    says: int
    height: int = 0
    width: int = 0
    times: int = 0  # by which the picture was reduced
    number: int = 0
    announced: int = 0  # frames that the file says it has
    real: float = 0.0


REQUEST: Final = struct.Struct("<Bq")
"""`Ask`, number."""
ANSWER: Final = struct.Struct("<BIIIqqd")
"""The fields of `Answer`."""
MEMORY_STATUS: Final = 3
"""The exit status of a process that has reached the limit of its memory."""
FAULT_STATUS: Final = 4
"""The exit status where OpenCV gives up on the file."""
JUMP_FRAMES: Final = 10
"""In how many frames' time the last frame must be found: from one keyframe on OpenCV decodes all in one call."""
THREADS: Final = 4
"""Of FFmpeg and of OpenCV: each has buffers of its own, and a machine of many cores would need more memory than the limit."""
_MAX_OPEN_FILES: Final = 32
_TELL_SECONDS: Final = 1.0  # so often it is told how many frames were passed over
_SPARE_BYTES: Final = 64 << 20  # with less than this FFmpeg opens nothing


class Decoder:
    """One video, read from its first frame on.

    Args:
        path: the file.
        seconds: for one frame; the system ends the process after that.
        longest: pixels; pictures with a longer side are reduced by a whole number until no side is longer. 0 for no bound.
        answers: the file descriptor to write to.
    """

    def __init__(self, path: str, *, seconds: float, longest: int, answers: int) -> None:
        self._path = path
        self._seconds = seconds
        self._longest = longest
        self._answers = answers
        self._passed = 0  # frames decoded
        self._told = time.monotonic()
        self._video = self._open()
        self._rest()

    def answer(self, asked: Ask, number: int) -> None:
        """Write the answer to one request."""
        if asked is Ask.SIZE:
            self._tell_size()
        elif asked is Ask.COUNT:
            self._tell_count(number)
        else:
            self._tell_frame(number)

    def _tell_size(self) -> None:
        if not self._video.isOpened():
            _require_memory(0)
            self._send(Answer(Says.SHUT))
            return
        height, width = self._size()
        self._send(Answer(Says.SIZE, height=height, width=width))

    def _tell_count(self, most: int) -> None:
        self._limit(1)
        if not self._video.grab():
            _require_memory(self._picture_bytes())
            self._send(Answer(Says.SHUT))
            return
        real = float(self._video.get(cv2.CAP_PROP_FPS))
        announced = self._whole(cv2.CAP_PROP_FRAME_COUNT)
        frames = announced if self._decodes_to_the_end(announced) else self._count(most)
        self._send(Answer(Says.COUNT, number=frames, announced=announced, real=real))

    def _tell_frame(self, index: int) -> None:
        while self._passed <= index:  # skips without conversion: seeking is not exact in every container
            if not self._grab():
                self._send(Answer(Says.ENDS, number=self._passed))
                return
        self._limit(1)
        ok, bgr = self._video.retrieve()
        if not ok:
            _require_memory(self._picture_bytes())
            self._send(Answer(Says.BROKEN, number=index))
            return
        shown = float(self._video.get(cv2.CAP_PROP_POS_MSEC))  # right at a variable rate too
        small, times = reduce(bgr, self._longest)
        height, width = small.shape[:2]
        rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
        self._send(Answer(Says.PICTURE, height=height, width=width, times=times, number=index, real=shown), rgb)

    def _open(self) -> cv2.VideoCapture:
        self._limit(1)
        # Hardware is left out: its drivers reserve more address space than the limit gives, and are one more thing to attack.
        options = [cv2.CAP_PROP_HW_ACCELERATION, cv2.VIDEO_ACCELERATION_NONE, cv2.CAP_PROP_N_THREADS, THREADS]
        video = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG, options)
        video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # phones record sideways and say how to rotate
        return video

    def _grab(self) -> bool:
        """Decode the next frame; False at the end. How far it has come is told now and then."""
        self._limit(1)
        if not self._video.grab():
            _require_memory(self._picture_bytes())
            return False
        self._passed += 1
        if time.monotonic() > self._told + _TELL_SECONDS:
            self._send(Answer(Says.PASSED, number=self._passed))
        return True

    def _decodes_to_the_end(self, announced: int) -> bool:
        """Whether the last announced frame decodes, found without decoding all frames before it."""
        self._limit(JUMP_FRAMES)
        if announced <= 0 or not self._video.set(cv2.CAP_PROP_POS_FRAMES, announced - 1):
            return False
        return bool(self._video.grab() and self._video.retrieve()[0])

    def _count(self, most: int) -> int:
        """How many frames decode, by decoding all of them; it stops counting after `most`."""
        self._video.release()
        self._video = self._open()
        while self._passed <= most and self._grab():
            pass
        return self._passed

    def _whole(self, property_: int) -> int:
        value = self._video.get(property_)
        return int(value) if math.isfinite(value) and value > 0 else 0

    def _size(self) -> tuple[int, int]:
        """H, W by the file's header, each in 32 bits."""
        sides = [self._whole(side) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
        return min(sides[0], 0xFFFFFFFF), min(sides[1], 0xFFFFFFFF)

    def _picture_bytes(self) -> int:
        return 4 * math.prod(self._size())

    def _limit(self, frames: int) -> None:
        """Have the system end this process if what follows takes longer than so many frames may, even if the reader is dead."""
        signal.setitimer(signal.ITIMER_REAL, frames * self._seconds)

    def _rest(self) -> None:
        """Wait for the reader, without a limit."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _send(self, answer: Answer, pixels: Bytes | None = None) -> None:
        """Write an answer; the time that the reader takes for it does not count."""
        self._rest()
        self._told = time.monotonic()
        os.write(self._answers, ANSWER.pack(*answer))
        rest = memoryview(b"") if pixels is None else pixels.reshape(-1).data
        while rest:
            rest = rest[os.write(self._answers, rest) :]


def reduce(image: Bytes, longest: int) -> tuple[Bytes, int]:
    """An image (H, W, 3) reduced by the least whole number that leaves no side longer, and that number; 0 is no bound."""
    times = math.ceil(max(image.shape[:2]) / longest) if longest else 1
    if times == 1:
        return image, 1
    height, width = image.shape[0] // times, image.shape[1] // times
    cut = image[: height * times, : width * times]
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8), times


def confine(memory: int) -> None:
    """Take from this process what decoding does not need; limits that the platform lacks are left out.

    Args:
        memory: bytes of address space.
    """
    with suppress(OSError):  # Linux: where the machine itself runs out of memory this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # it ends when nobody reads any more
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})  # a thread's mask is inherited
    limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0, "RLIMIT_NOFILE": _MAX_OPEN_FILES, "RLIMIT_AS": memory}
    for name, most in limits.items():
        with suppress(AttributeError, ValueError, OSError):
            kind = getattr(resource, name)
            hard = resource.getrlimit(kind)[1]
            bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.setrlimit(kind, (bound, bound))


def _require_memory(size: int) -> None:
    """Raise MemoryError if no block of so many bytes is to be had: FFmpeg says only that it failed, and not why."""
    np.empty(max(size, _SPARE_BYTES), np.uint8)


def _answers_alone() -> int:
    """Standard output for the answers alone: what libraries print goes nowhere."""
    answers = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    return answers


def main() -> None:
    """Answer requests until there are no more."""
    path, memory, seconds, longest = sys.argv[1:]
    restrict_ffmpeg()
    cv2.setNumThreads(THREADS)
    answers = _answers_alone()
    confine(int(memory))
    try:
        decoder = Decoder(path, seconds=float(seconds), longest=int(longest), answers=answers)
        while len(request := sys.stdin.buffer.read(REQUEST.size)) == REQUEST.size:
            asked, number = REQUEST.unpack(request)
            decoder.answer(Ask(asked), number)
    except MemoryError:
        os._exit(MEMORY_STATUS)
    except cv2.error as error:
        no_memory = getattr(error, "code", None) == cv2.Error.StsNoMem or "alloc" in str(error)
        os._exit(MEMORY_STATUS if no_memory else FAULT_STATUS)


if __name__ == "__main__":
    main()
