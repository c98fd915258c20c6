"""`evaluate studio`: whether the studio's people look like people to networks that were trained on photographs.

A landmark detector should find the face where it is, and a 19-class face parser, with its own matte, should see the parts that
the studio says are there. Both look at single frames, spread over a whole performance.

Left and right are one part. The mouth is lips and what lies between them. A part counts in a frame where the truth has at least
1 in 4,000 of the pixels: closed eyes, brows under a fringe and hair under a hat are then left out instead of scored as zero.
Stubble and beards are skin, as in the parser's training data. The truth labels the frame of glasses as glasses, and what is
seen through a lens by its own name, but the parser labels all of it glasses. So pixels that it labels so are not compared on
people who wear glasses. Pixels outside the square around the face that the parser is given are not compared either.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import wait
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from pegasus_ray.evaluate.regions import FACE_PARTS, Region, iou
from pegasus_ray.library.performance import Floats
from pegasus_ray.library.track import Bytes
from pegasus_ray.perception.nets.label_map import portrait_square
from pegasus_ray.perception.nets.landmarks import FaceMesh
from pegasus_ray.perception.nets.matte import MatteModel, matte_model_of, rough_matte
from pegasus_ray.perception.nets.parser import FaceParser, parser_of
from pegasus_ray.schemas.parts import Label
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.studio.film.frame import Frame
from pegasus_ray.studio.film.render import render_frames, render_pool
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.person import Person
from pegasus_ray.studio.sampling import sample_person

PARSER: Final = "bisenet"  # name of the face parser, see `parser_of`
MATTE: Final = "selfie"  # name of the matte model, see `matte_model_of`
MIN_PART_SHARE: Final = 1 / 4000
"""Share of the frame's pixels below which a part does not count in it."""
MAX_LANDMARK_ERROR: Final = 0.08
"""Mean distance of the landmarks from the truth, in sides of the face's box, up to which the face counts as found."""
FPS: Final = 5.0
"""Frames a second of the films: few, so that a few frames show a whole performance."""
WORKER_START_SECONDS: Final = 0.2
"""How long each worker is kept busy before the clock starts, so that every process has started by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioScore:
    """How far networks trained on photographs agree with the studio's truth."""

    face_found: float  # share of the frames
    iou: dict[str, float]  # of each part, mean over the frames that have it
    counted: dict[str, int]  # how many frames have the part
    frames_per_second: float  # of the rendering alone, wall time, with `workers` processes
    cpu_seconds_per_frame: float  # of the rendering, summed over all processes
    people: int
    frames: int
    size: int
    workers: int
    landmarks: str = "mediapipe"
    parser: str = PARSER
    matte: str = MATTE

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Networks:
    """The networks that judge the frames."""

    landmarks: FaceMesh
    matte: MatteModel
    parser: FaceParser

    @classmethod
    def load(cls) -> Self:
        return cls(
            landmarks=FaceMesh(threads=1), matte=matte_model_of(MATTE, threads=1), parser=parser_of(PARSER, threads=1)
        )

    def compare(self, frame: Frame, *, glasses: bool) -> dict[str, float] | None:
        """The IoU of each part that counts in a frame; None where the face is not found. `glasses`: the person wears some."""
        face = self.landmarks.detect(frame.image)
        if face is None or not _is_on_face(face.points / len(frame.image), frame.landmarks):
            return None
        seen = self.parser(frame.image, face.points, rough_matte(frame.image, self.matte))
        return part_ious(seen, frame.parts, _compared_pixels(seen, face.points, glasses))


def evaluate_studio(
    seeds: Iterable[int], frames: int, size: int, *, workers: int = 2, progress: Progress | None = None
) -> StudioScore:
    """Film the people of these seeds, `frames` frames each at `size` pixels, by `workers` processes, and compare.

    Raises:
        PegasusError: ASSET_MISSING where a network's file is not on this machine.
    """
    networks = _Networks.load()
    people = [sample_person(seed) for seed in seeds]
    found, wall, cpu = [], 0.0, 0.0
    agreement: dict[str, list[float]] = {name: [] for name in FACE_PARTS}
    with render_pool(workers) as crew:
        wait([crew.submit(time.sleep, WORKER_START_SECONDS) for _ in range(workers)])
        for start in range(0, len(people), workers):
            began = time.perf_counter()
            takes = list(crew.map(_film, people[start : start + workers], repeat(frames), repeat(size)))
            wall += time.perf_counter() - began
            for someone, (filmed, spent) in zip(people[start : start + workers], takes, strict=True):
                cpu += spent
                for frame in filmed:
                    ious = networks.compare(frame, glasses=someone.glasses is not None)
                    found.append(ious is not None)
                    for name, value in (ious or {}).items():
                        agreement[name].append(value)
            if progress:
                done = min(start + workers, len(people))
                progress(done / len(people), f"{done} of {len(people)} people")
    count = len(people) * frames
    return StudioScore(
        face_found=float(np.mean(found)),
        iou={name: float(np.mean(values)) if values else 0.0 for name, values in agreement.items()},
        counted={name: len(values) for name, values in agreement.items()},
        frames_per_second=count / wall,
        cpu_seconds_per_frame=cpu / count,
        people=len(people),
        frames=count,
        size=size,
        workers=workers,
    )


def _film(someone: Person, frames: int, size: int) -> tuple[list[Frame], float]:
    """A person's frames, and the seconds of processor time for them, including the modelling of the person."""
    began = time.process_time()
    filmed = list(render_frames(someone, perform(someone, frames, FPS), size=size))
    return filmed, time.process_time() - began


def part_ious(
    seen: Bytes,  # (S, S) `Label`
    truth: Bytes,  # (S, S) `Label`
    compared: Region,  # (S, S) the pixels that count
) -> dict[str, float]:
    """Intersection over union of each of `FACE_PARTS` that has enough pixels in the truth."""
    shares = {}
    for name, labels in FACE_PARTS.items():
        found, true = np.isin(seen, labels) & compared, np.isin(truth, labels) & compared
        if true.mean() >= MIN_PART_SHARE:
            shares[name] = iou(found, true)
    return shares


def _compared_pixels(seen: Bytes, points: npt.NDArray[np.floating], glasses: bool) -> Region:
    """The pixels (S, S) to compare: those of the parser's square around the landmarks (478, 2), without its glasses."""
    square = portrait_square(points)
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]] + 0.5
    inside = (np.abs(columns - square.x) < square.side / 2) & (np.abs(rows - square.y) < square.side / 2)
    return np.asarray(inside & ~(glasses & (seen == Label.GLASSES)))


def _is_on_face(points: npt.NDArray[np.floating], truth: Floats) -> bool:
    """Whether landmarks (478, 2) lie on average near the true ones."""
    known = (truth > 0).all(1)
    side = float(np.ptp(truth[known], axis=0).max())
    return bool(np.linalg.norm(points[known] - truth[known], axis=1).mean() < MAX_LANDMARK_ERROR * side)
