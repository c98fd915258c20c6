"""evaluate studio: are the studio's people like people? Judged by nets that were trained on photographs.

A landmark detector has to find the face where it is, and a 19-class face parser, with its own matte, has to see the parts that
the studio says are there. Both judge single frames, spread over a whole performance.

Conventions: left and right are one class. Mouth is lips and what lies between them. A class counts in a frame where the truth
has at least 1 in 4,000 of its pixels: closed eyes, brows under a fringe and hair under a hat are then left out, not scored as
zero. Stubble and beards are skin, as they are in the parser's training. The truth calls glasses what a frame covers, and what is
seen through a lens by its own name; the parser calls all of it glasses: on who wears them, those pixels are not compared. Nor is
anything outside the square around the face that the net saw.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import wait
from dataclasses import asdict, dataclass
from itertools import repeat
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pegasus_ray.library.track import Bytes, Floats
from pegasus_ray.perception.nets.landmarks import FaceMesh
from pegasus_ray.perception.nets.matte import matte_model_of, rough_matte
from pegasus_ray.perception.nets.parser import parser_of
from pegasus_ray.schemas.parts import Label
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.studio.film.render import crew_of, shoot
from pegasus_ray.studio.film.shot import Frame
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.people import Person, person

PARSER: Final = "bisenet"
MATTE: Final = "selfie"
CLASSES: Final[dict[str, tuple[Label, ...]]] = {
    "hair": (Label.HAIR,),
    "skin": (Label.SKIN,),
    "nose": (Label.NOSE,),
    "mouth": (Label.MOUTH, Label.LIP_UPPER, Label.LIP_LOWER),
    "brows": (Label.BROW_LEFT, Label.BROW_RIGHT),
    "eyes": (Label.EYE_LEFT, Label.EYE_RIGHT),
}
LEAST: Final = 1 / 4000
"""Share of the frame's pixels below which a class is not there."""
REACH, RAISED = 2.1, 0.08
"""The parser's square: its side in sides of the landmarks' box, and how far up it is moved in its own."""
NEAR: Final = 0.08
"""How far off landmarks may lie on average, in sides of the face's box, for the face to be found: not some other spot."""
FPS: Final = 5.0
"""Frames a second: slow, so that a few frames see a whole performance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudioScore:
    """What nets trained on photographs think of studio people."""

    face_found: float  # share of the frames
    iou: dict[str, float]  # of each class, mean over the frames that have it
    counted: dict[str, int]  # frames that have it
    frames_per_second: float  # of the rendering alone, by the clock, with `workers` processes
    cpu_seconds_per_frame: float  # of the rendering, in all processes
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


def evaluate_studio(
    seeds: Iterable[int], frames: int, size: int, *, workers: int = 2, progress: Progress | None = None
) -> StudioScore:
    """Film the people of these seeds, `frames` frames each at `size` pixels, by `workers` processes, and have them judged.

    Raises:
        PegasusError: ASSET_MISSING where a net's file is not on this machine.
    """
    faces, matte, parse = FaceMesh(threads=1), matte_model_of(MATTE, threads=1), parser_of(PARSER, threads=1)
    people = [person(seed) for seed in seeds]
    found, wall, cpu = [], 0.0, 0.0
    agreement: dict[str, list[float]] = {name: [] for name in CLASSES}
    with crew_of(workers) as crew:
        wait([crew.submit(time.sleep, 0.2) for _ in range(workers)])  # they have come before the clock starts
        for start in range(0, len(people), workers):
            began = time.perf_counter()
            takes = list(crew.map(_filmed, people[start : start + workers], repeat(frames), repeat(size)))
            wall += time.perf_counter() - began
            for who, (filmed, spent) in zip(people[start : start + workers], takes, strict=True):
                cpu += spent
                for frame in filmed:
                    face = faces.detect(frame.image)
                    found.append(face is not None and _is_there(face.points / size, frame.landmarks))
                    if face is not None and found[-1]:
                        seen = parse(frame.image, face.points, rough_matte(frame.image, matte))
                        compared = _judged(seen, face.points, who.glasses is not None)
                        for name, value in overlaps(seen, frame.parts, compared).items():
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


def _filmed(who: Person, frames: int, size: int) -> tuple[list[Frame], float]:
    """A person's frames, and the seconds of processor time that they took, the making of the person included."""
    began = time.process_time()
    filmed = shoot(who, perform(who, frames, FPS), size)
    return filmed, time.process_time() - began


def overlaps(
    seen: Bytes,  # (S, S) `Label`
    truth: Bytes,  # (S, S)
    compared: npt.NDArray[np.bool_],  # (S, S) which pixels to look at
) -> dict[str, float]:
    """Intersection over union of each of `CLASSES` that the truth has enough of."""
    shares = {}
    for name, labels in CLASSES.items():
        a, b = np.isin(seen, labels) & compared, np.isin(truth, labels) & compared
        if b.mean() >= LEAST:
            shares[name] = float((a & b).sum() / (a | b).sum())
    return shares


def _judged(seen: Bytes, points: npt.NDArray[np.floating], glasses: bool) -> npt.NDArray[np.bool_]:
    """The pixels (S, S) to compare: of the square that the parser saw around landmarks (478, 2), without its glasses."""
    low, high = points.min(0), points.max(0)
    reach = 0.5 * REACH * float((high - low).max())
    x, y = (low + high) / 2 - np.array([0, RAISED * 2 * reach])
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]] + 0.5
    inside = (np.abs(columns - x) < reach) & (np.abs(rows - y) < reach)
    return np.asarray(inside & ~(glasses & (seen == Label.GLASSES)))


def _is_there(points: npt.NDArray[np.floating], truth: Floats) -> bool:
    """Whether landmarks (478, 2) lie about where they should."""
    known = (truth > 0).all(1)
    side = float(np.ptp(truth[known], axis=0).max())
    return bool(np.linalg.norm(points[known] - truth[known], axis=1).mean() < NEAR * side)
