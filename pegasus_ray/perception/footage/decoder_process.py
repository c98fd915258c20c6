"""Decodes a video in a process of its own, and checks all that comes back from it.

A file that crashes the decoder, fills the memory or takes for ever ends that process; here this becomes an error that names the
file. The process is a new program and not a copy of this one (a fork), because other threads of this one may hold locks. What
it sends is checked before room is made for it, because a file may have taken the process over.

Legend: H, W sides of a picture in pixels.
"""

from __future__ import annotations

import fcntl
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from pegasus_ray.perception.footage import decoder
from pegasus_ray.perception.footage.decoder import (
    ANSWER,
    FAULT_STATUS,
    JUMP_FRAMES,
    MEMORY_STATUS,
    REQUEST,
    Answer,
    Ask,
    Says,
)
from pegasus_ray.perception.nets.square import Bytes
from pegasus_ray.schemas.errors import PegasusError, Reason

AHEAD: Final = 2
"""Frames that are asked for before the caller wants them, so that decoding goes on while the caller works on one."""
START_SECONDS: Final = 60.0
"""In which the program starts; on an idle machine it takes 0.15."""
_PIPE_BYTES: Final = 1 << 20  # of the pipe, where the system lets it be set: fewer switches between the two processes
_REENCODE: Final = "ffmpeg -i FILE out.mp4"
_SHRINK: Final = "ffmpeg -i FILE -vf scale=1920:-2 out.mp4"
_ROOT: Final = Path(__file__).parents[3]  # the folder that holds the package


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What decoding a video may cost."""

    memory: int = 4 << 30  # bytes of address space; pictures of 7680 × 4320 took up to 2.5 GiB
    seconds: float = 60.0  # for one frame
    grace: float = 30.0  # seconds after which a process is ended that its own limit has not ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How long a video is."""

    frames: int  # that decode
    announced: int  # that the file says it has; 0 if it does not say
    fps: float  # frames per second by the header; it may be any number


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture."""

    index: int  # its number in the video
    shown: float  # seconds from the start; 0 if the file does not say
    image: Bytes  # (H, W, 3) RGB, upright
    times: int  # by which it was reduced


class DecoderProcess:
    """A video that is being decoded in a process of its own. A context manager: the process ends with it.

    Args:
        path: the file, which must have passed `check_container`.
        pixels: that a picture may have at most before it is reduced.
        longest: pixels; pictures with a longer side are reduced by a whole number until no side is longer.
        limits: of the process.
    """

    def __init__(self, path: Path, *, pixels: int, longest: int | None = None, limits: Limits | None = None) -> None:
        self._path = path
        self._pixels = pixels
        self._longest = longest or 0
        self._limits = limits or Limits()
        self._starting = START_SECONDS  # until the first answer
        self._process = subprocess.Popen(
            command_of(path, self._longest, self._limits),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
            start_new_session=True,  # a Ctrl-C or Ctrl-Z on the terminal is for this process, which then ends that one
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        self._ready = select.poll()
        self._ready.register(self._answers, select.POLLIN)
        with suppress(AttributeError, OSError):  # Linux
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def __enter__(self) -> DecoderProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def close(self) -> None:
        """End the process at once; it writes nothing, so nothing is lost."""
        self._process.kill()
        self._requests.close()
        self._answers.close()
        self._process.wait()

    def size(self) -> tuple[int, int] | None:
        """H, W of the pictures by the file's header, before one is decoded; None if the file does not open."""
        self._ask(Ask.SIZE)
        answer = self._answer(Says.SIZE, Says.SHUT)
        return (answer.height, answer.width) if answer.says == Says.SIZE else None

    def count(self, most: int) -> Count | None:
        """How many frames decode, counted no farther than one more than `most`; None if the first one does not.

        No picture can be read afterwards.
        """
        self._ask(Ask.COUNT, most)
        answer = self._answer(Says.COUNT, Says.SHUT, most=most + 1, frames=JUMP_FRAMES)
        if answer.says == Says.SHUT:
            return None
        if answer.number < 0:
            raise self._nonsense(f"{answer.number} frames")
        return Count(frames=answer.number, announced=max(answer.announced, 0), fps=answer.real)

    def pictures(self, indices: Iterable[int]) -> Iterator[Picture]:
        """Decode frames one after the other, at most `AHEAD` more than are taken.

        Args:
            indices: frame numbers, ascending.

        Raises:
            PegasusError: TRUNCATED where the video ends before the last of them.
        """
        asked: deque[int] = deque()
        for index in indices:
            self._ask(Ask.FRAME, index)
            asked.append(int(index))
            if len(asked) > AHEAD:
                yield self._picture(asked.popleft())
        while asked:
            yield self._picture(asked.popleft())

    def _picture(self, index: int) -> Picture:
        answer = self._answer(Says.PICTURE, Says.ENDS, Says.BROKEN, most=index + 1)
        if answer.says == Says.ENDS:
            raise self._error(Reason.TRUNCATED, f"ends at frame {answer.number}")
        if answer.says == Says.BROKEN:
            raise self._error(Reason.TRUNCATED, f"frame {index} does not decode")
        height, width, times = answer.height, answer.width, answer.times
        if answer.number != index or min(height, width, times) < 1:
            raise self._nonsense(f"frame {answer.number} with {width}×{height} pixels for frame {index}")
        if height * width * times**2 > self._pixels:
            message = f"frame {index} has {width * times}×{height * times} pixels, more than {self._pixels}; "
            raise self._error(Reason.NOT_A_VIDEO, f"{message}make them smaller: {_SHRINK}")
        if (self._longest and max(height, width) > self._longest) or (times > 1 and not self._longest):
            raise self._nonsense(f"{width}×{height} pixels where {self._longest or 'no'} was the longest side")
        image = np.empty((height, width, 3), np.uint8)
        self._read(image.reshape(-1).data, self._limits.seconds + self._limits.grace)
        shown = answer.real / 1000
        return Picture(index=index, shown=shown if math.isfinite(shown) else 0.0, image=image, times=times)

    def _ask(self, what: Ask, number: int = 0) -> None:
        with suppress(BrokenPipeError):  # it has ended: the answer, which is missing, will say why
            self._requests.write(REQUEST.pack(what, number))

    def _answer(self, *expected: Says, most: int = 0, frames: int = 1) -> Answer:
        """The head of the next answer; it must say one of what is expected.

        Args:
            expected: what it may say.
            most: frames that may be passed over on the way. Each time that the decoder tells how far it has come, it must
                have come farther, so that this ends.
            frames: in how many frames' time something must be heard.
        """
        passed = 0
        while True:
            head = bytearray(ANSWER.size)
            self._read(memoryview(head), self._starting + frames * self._limits.seconds + self._limits.grace)
            self._starting = 0.0
            answer = Answer(*ANSWER.unpack(head))
            if answer.says in expected:
                return answer
            if answer.says != Says.PASSED or not passed < answer.number <= most:
                raise self._nonsense(f"answer {answer.says}, number {answer.number}")
            passed = answer.number

    def _read(self, room: memoryview, seconds: float) -> None:
        """Fill a buffer with what the process writes within so many seconds."""
        deadline = time.monotonic() + seconds
        while room:
            left = max(deadline - time.monotonic(), 0) * 1000
            if not (
                self._ready.poll(left) or self._ready.poll(0)
            ):  # again: this process may have been stopped meanwhile
                raise self._too_slow()
            count = os.readv(self._answers.fileno(), [room])
            if count == 0:
                raise self._ended()
            room = room[count:]

    def _ended(self) -> PegasusError:
        """The error for a process that has closed its pipe."""
        try:
            status = self._process.wait(timeout=self._limits.grace)
        except subprocess.TimeoutExpired:
            return self._nonsense("no more, and goes on")
        if status == -signal.SIGALRM:
            return self._too_slow()
        if status == -signal.SIGKILL:
            message = "its decoder was killed (SIGKILL), most likely because the machine had no more memory; run it again alone"
            return self._error(Reason.OUT_OF_MEMORY, f"{message}, or make the pictures smaller: {_SHRINK}")
        if status == MEMORY_STATUS:
            message = f"needs more than {self._limits.memory / 2**30:.3g} GiB of memory to decode"
            return self._error(Reason.NOT_A_VIDEO, f"{message}; make the pictures smaller: {_SHRINK}")
        if status < 0 or status == FAULT_STATUS:
            why = signal.Signals(-status).name if status < 0 else "an error of OpenCV"
            message = f"its decoder ended ({why}): the file is damaged, or made to do that"
            return self._error(Reason.NOT_A_VIDEO, f"{message}; re-encode it: {_REENCODE}")
        message = f"the program that decodes it ended with status {status}; its standard error says why"
        return self._error(Reason.INTERNAL, message)

    def _too_slow(self) -> PegasusError:
        message = f"its decoder took longer than {self._limits.seconds:g} seconds for a frame"
        return self._error(Reason.NOT_A_VIDEO, f"{message}; re-encode it: {_REENCODE}")

    def _nonsense(self, what: str) -> PegasusError:
        message = f"its decoder answers what cannot be ({what}): the file is damaged, or made to do that"
        return self._error(Reason.NOT_A_VIDEO, f"{message}; re-encode it: {_REENCODE}")

    def _error(self, reason: Reason, message: str) -> PegasusError:
        return PegasusError(reason, message, subject=str(self._path))


def command_of(path: Path, longest: int, limits: Limits) -> list[str]:
    """The command line of the program; the path is absolute, so that it reads as no option and no protocol."""
    arguments = [str(path.absolute()), str(limits.memory), str(limits.seconds), str(longest)]
    return [sys.executable, "-P", "-m", decoder.__name__, *arguments]  # -P: nothing is imported from the working folder


def _environment() -> dict[str, str]:
    """The environment of this process, with its import path, and without pools of threads that decoding does not need."""
    folders = [*(folder for folder in sys.path if Path(folder).is_absolute()), str(_ROOT)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**os.environ, **threads, "PYTHONPATH": os.pathsep.join(folders)}
