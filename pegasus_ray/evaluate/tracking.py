"""`evaluate tracking`: how near tracks are to the truth, on studio people whose every parameter is known.

People are filmed, the film is written as a video file with its codec's losses, and tracked like any video. The tracking never
sees the truth.

Legend: T frames, S side of the track's frames in pixels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
from scipy.spatial.transform import Rotation

from pegasus_ray.evaluate.regions import FACE_PARTS, iou
from pegasus_ray.jobs.results import read_track
from pegasus_ray.jobs.studio import StudioConfig, StudioJob
from pegasus_ray.library.library import Library
from pegasus_ray.library.performance import Floats
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.perception.footage.crop import Crop, resize
from pegasus_ray.perception.nets.label_map import resize_labels
from pegasus_ray.perception.observe import Observations, observe
from pegasus_ray.perception.tracking.fit_rig import fit_rig
from pegasus_ray.render.video import write_video
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Label
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.track import TrackConfig, track_observed
from pegasus_ray.studio.film.render import restore_wall
from pegasus_ray.studio.sampling import sample_person

EXPRESSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "jawOpen": ("jawOpen",),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
}
"""The expressions that are compared, each the mean of its members."""
PARTS: Final[Mapping[str, tuple[Label, ...]]] = {**FACE_PARTS, "cloth": (Label.CLOTH,)}
"""The parts by which part maps are compared."""
MIN_EXPRESSION_DEVIATION: Final = 0.03
"""Standard deviation up to which an expression hardly moves, so that its correlation would mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingExam:
    """Who is filmed, and how they are tracked."""

    people: int = 6
    seed: int = 900  # of the first; the others' follow. Those below 900 are for tuning
    film: StudioConfig = field(default_factory=lambda: StudioConfig(frames=60, size=256))
    track: TrackConfig = field(default_factory=TrackConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackScore:
    """One person's track compared with the truth."""

    name: str
    frames: int  # in the track
    kept: float  # share of the filmed frames that are in the track
    rotation: Floats  # (T,) degrees between the head's rotation and the true one
    rotation_turned: Floats  # (T,) the same after the constant rotation of the head's own axes that fits best
    turns: tuple[float, float, float]  # found change in pitch, yaw, roll for each degree of true change
    reprojection: Floats  # (T,) error of landmarks that were left out of a fit, percent of the outer-eye distance
    expression: Mapping[str, float]  # correlations with the truth, of those that move
    matte: float  # intersection over union
    parts: Mapping[str, float]  # intersection over union of each part
    focal: float  # found / true
    translation: float  # metres off across the picture, median
    depth: float  # found / true distance, median
    seconds: float  # of the tracking, wall time
    cpu_seconds: float  # of the tracking, summed over all threads

    def facts(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "frames": self.frames,
            "kept": self.kept,
            "rotation_deg_median": float(np.median(self.rotation)),
            "rotation_deg_median_turned": float(np.median(self.rotation_turned)),
            "found_of_pitch_yaw_roll": self.turns,
            "reprojection_pct_median": float(np.median(self.reprojection)),
            "expression_corr": dict(self.expression),
            "matte_iou": self.matte,
            "parts_iou": dict(self.parts),
            "focal_ratio": self.focal,
            "translation_mm": 1000 * self.translation,
            "depth_ratio": self.depth,
            "frames_per_second": self.frames / self.seconds,
            "cpu_seconds_per_frame": self.cpu_seconds / self.frames,
        }


def evaluate_tracking(library: Library, exam: TrackingExam, progress: Progress | None = None) -> dict[str, Any]:
    """Film people, or take their films from the library, track them, and compare.

    Returns:
        medians over all frames of all people, and a row for each person.

    Raises:
        PegasusError: what `track` raises.
    """
    report = progress or (lambda *_: None)
    scores = []
    for number in range(exam.people):
        truth = _film(library, exam, exam.seed + number, report)
        report(number / exam.people, f"{truth.source}: tracked")
        with TemporaryDirectory() as folder:
            video = Path(folder) / f"{truth.source}.mp4"
            write_video(restore_wall(truth), video, exam.film.fps)
            scores.append(score_video(video, truth, exam.track))
    return summarise(scores)


def summarise(scores: list[TrackScore]) -> dict[str, Any]:
    """The figures of several people, for `--json`."""
    correlations = {
        name: [score.expression[name] for score in scores if name in score.expression] for name in EXPRESSIONS
    }
    parts = {name: [score.parts[name] for score in scores if name in score.parts] for name in PARTS}
    frames = sum(score.frames for score in scores)
    return {
        "rotation_deg_median": _median(score.rotation for score in scores),
        "rotation_deg_median_turned": _median(score.rotation_turned for score in scores),
        "reprojection_pct_median": _median(score.reprojection for score in scores),
        "expression_corr": {name: float(np.mean(found)) for name, found in correlations.items() if found},
        "matte_iou": float(np.mean([score.matte for score in scores])),
        "parts_iou": {name: float(np.mean(found)) for name, found in parts.items() if found},
        "kept": float(np.mean([score.kept for score in scores])),
        "frames_per_second": frames / sum(score.seconds for score in scores),
        "cpu_seconds_per_frame": sum(score.cpu_seconds for score in scores) / frames,
        "people": [score.facts() for score in scores],
    }


def score_video(video: Path, truth: Track, config: TrackConfig) -> TrackScore:
    """Track a video and compare the track frame by frame with the truth, whose pictures are as the video's."""
    began, used = time.perf_counter(), time.process_time()
    seen = observe(video, config.observe)
    found = track_observed(seen, config)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    # The reprojection error is that of landmarks which a second fit has not seen.
    with_some_left_out = replace(config.fit_rig, every_fifth_left_out=True)
    left_out = fit_rig(seen, load_rig(config.rig), with_some_left_out).left_out_error
    true = truth.select(seen.indices.astype(np.int64))
    offset, turned, turns = compare_rotations(found.head[:, :3], true.head[:, :3])
    scale = seen.crop.side / seen.width  # the crop's side in sides of the picture
    depth = np.median(found.head[:, 5] / true.head[:, 5])
    across = found.head[:, 3:5] / depth - true.head[:, 3:5]
    return TrackScore(
        name=truth.source,
        frames=len(found),
        kept=len(found) / len(truth),
        rotation=offset,
        rotation_turned=turned,
        turns=turns,
        reprojection=left_out,
        expression=compare_expressions(found.expression, true.expression, load_rig(config.rig).expression_names),
        matte=_matte_iou(seen, true),
        parts=_parts_iou(seen, true),
        focal=float(found.camera[0, 0] * scale / true.camera[0, 0]),
        translation=float(np.median(np.hypot(*across.T))),
        depth=float(depth),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


def compare_rotations(
    found: Floats,  # (T, 3) rotation vectors
    true: Floats,  # (T, 3)
) -> tuple[Floats, Floats, tuple[float, float, float]]:
    """How far head rotations are off.

    Two identities may describe the same head with its axes tilted. The rotations of one are then those of the other after a
    constant rotation, so the errors are also given after the constant rotation that fits best.

    Returns:
        errors in degrees (T,); errors in degrees after the constant rotation (T,); and the slopes of found against true pitch,
        yaw and roll, about their means.
    """
    here, there = Rotation.from_rotvec(found), Rotation.from_rotvec(true)
    constant = (there.inv() * here).mean()
    slopes = []
    for one, other in zip(here.as_rotvec().T, there.as_rotvec().T, strict=True):
        variance = float(np.var(other))
        slopes.append(float(np.mean((one - one.mean()) * (other - other.mean()))) / max(variance, 1e-9))
    return (
        np.rad2deg((here * there.inv()).magnitude()).astype(np.float32),
        np.rad2deg((here * constant.inv() * there.inv()).magnitude()).astype(np.float32),
        (slopes[0], slopes[1], slopes[2]),
    )


def compare_expressions(found: Floats, true: Floats, names: tuple[str, ...]) -> dict[str, float]:
    """Correlations over time of `EXPRESSIONS`, taken from weights (T, E), with the truth; those that hardly move are left out."""
    result = {}
    for name, members in EXPRESSIONS.items():
        columns = [names.index(member) for member in members]
        one, other = found[:, columns].mean(1), true[:, columns].mean(1)
        if other.std() > MIN_EXPRESSION_DEVIATION:
            result[name] = float(np.corrcoef(one, other)[0, 1]) if one.std() > 0 else 0.0
    return result


def _film(library: Library, exam: TrackingExam, seed: int, report: Progress) -> Track:
    """A person's film with its truth, which is made where the library does not have it."""
    job = StudioJob.plan(sample_person(seed), exam.film)
    if not library.exists(job.stage.kind, job.key):
        with TemporaryDirectory() as scratch:
            job.run(library, report, Path(scratch))
    return read_track(library.location, job.key)


def _matte_iou(seen: Observations, true: Track) -> float:
    """Intersection over union of the mattes, mean over the frames."""
    shares = [
        iou(found, _cropped(truth, seen.crop, len(found)) > 127)
        for found, truth in zip(seen.mattes > 127, true.mattes, strict=True)
    ]
    return float(np.mean(shares))


def _parts_iou(seen: Observations, true: Track) -> dict[str, float]:
    """Intersection over union of `PARTS` over the pixels of all frames together; parts that the truth lacks are left out."""
    size = seen.parts.shape[1]
    truth = np.stack([resize_labels(np.ascontiguousarray(seen.crop.take(part)), size) for part in true.parts])
    shares = {}
    for name, labels in PARTS.items():
        here, there = np.isin(seen.parts, labels), np.isin(truth, labels)
        if there.any():
            shares[name] = iou(here, there)
    return shares


def _cropped(matte: Bytes, crop: Crop, size: int) -> Bytes:
    """The crop (size, size) of a matte of the whole picture."""
    return resize(np.ascontiguousarray(crop.take(matte)), size) if crop.side != size else crop.take(matte)


def _median(values: Any) -> float:
    return float(np.median(np.concatenate(list(values))))
