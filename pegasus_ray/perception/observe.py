"""Observes one person in a video: frames in one fixed square, with mattes, part maps, landmarks and an identity embedding.

The video is read twice: once for the landmarks, which decide the square, once for the pictures in it. Only the square of
the chosen frames is kept in memory.

Legend: T frames, S side of the frames in the result, W side of the square while it is worked on, both in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets.files import digest_of
from pegasus_ray.perception.footage.bystanders import without_bystanders
from pegasus_ray.perception.footage.crop import Crop, choose_crop, resize, resize_matted
from pegasus_ray.perception.footage.follow import MAX_SEARCH_SIDE, Followed, Follower, summarize
from pegasus_ray.perception.footage.quality import MIN_FEATURES_SEEN, features_seen, quality_of
from pegasus_ray.perception.footage.segmented import SegmentedFrames
from pegasus_ray.perception.footage.shoulders import with_shoulders
from pegasus_ray.perception.footage.video import Frame, VideoFile, open_video
from pegasus_ray.perception.nets.identity import best_frames, identity_file, identity_model_of, require_one_person
from pegasus_ray.perception.nets.label_map import fill_matte, resize_labels
from pegasus_ray.perception.nets.landmarks import FACE_MODEL, Face, landmark_model_of
from pegasus_ray.perception.nets.matte import MATTE_MODEL, Plate, matte_model_of, refine, rough_matte
from pegasus_ray.perception.nets.parser import parser_files, parser_of
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.perception.nets.threads import map_in_order, model_pool
from pegasus_ray.schemas.errors import DropReason, PegasusError, Reason
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.progress import Progress

Result = TypeVar("Result")

_STEPS: Final = {"landmarks": (0.0, 0.1875), "mattes": (0.1875, 0.1875), "parts": (0.375, 0.625)}
"""The share of the work at which each step begins, and how much of the work it is."""
_MAX_WORKING_SIDE: Final = 768  # pixels, of the square while it is worked on
_MAX_SHARE_OUTSIDE: Final = 0.1  # of the landmarks that may lie outside of the square


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveConfig:
    """How a video is observed."""

    max_frames: int = 300  # evenly spaced over the video
    size: int = 256  # S
    landmarks: str = "mediapipe"
    parser: str = "auto"  # auto, bisenet, segformer, landmarks
    matte: str = "auto"  # auto, selfie
    identity: str = "auto"  # auto, dlib, arcface, none
    identity_frames: int = 6  # frames whose median embedding is the identity
    min_frames: int = 8  # fewer with a face are an error
    min_face_share: float = 0.5  # of the frames searched, without those of other shots; fewer with a face are an error
    threads: int = 2

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 2048:
            raise PegasusError(Reason.BAD_CONFIG, "must be from 16 to 2048 pixels", subject=f"size={self.size}")
        if not 1 <= self.min_frames <= self.max_frames:
            message = f"must be from 1 to max_frames, {self.max_frames}"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=f"min_frames={self.min_frames}")
        if self.identity_frames < 1:
            subject = f"identity_frames={self.identity_frames}"
            raise PegasusError(Reason.BAD_CONFIG, "must be 1 at least", subject=subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What was found in a video; frames and coordinates as in `Track`."""

    source: str  # the file's name
    images: Bytes  # (T, S, S, 3) RGB with the video's background; in the matte's soft edge the person's own colour
    mattes: Bytes  # (T, S, S) opacity of the person
    parts: Bytes  # (T, S, S) `Label`
    landmarks: Floats  # (T, 478, 2) fractions of the side
    blendshapes: Floats  # (T, 52)
    times: Floats  # (T,) seconds
    indices: npt.NDArray[np.int32]  # (T,) frame numbers in the video
    quality: Floats  # (T,) 0–1, see `quality_of`
    identity: Floats  # (D,) the face's embedding, see `identity_model_of`; (0,) without such a model
    crop: Crop  # the square in the video's picture
    width: int  # of the video's picture in pixels
    height: int
    fps: float
    dropped: tuple[tuple[int, DropReason], ...]  # frame numbers that were searched and left out, and why
    accompanied: int  # how many of the frames show other faces as well
    covered: int  # in how many of them nose or mouth are hidden, as by a hand or a mask
    cut_off: int  # frames that the file announces but that do not decode
    models: tuple[tuple[str, str], ...]  # name and sha256 of the model files used

    def __len__(self) -> int:
        return int(self.images.shape[0])

    @property
    def frames(self) -> SegmentedFrames:
        """The frames with their mattes and parts."""
        return SegmentedFrames(images=self.images, mattes=self.mattes, parts=self.parts, times=self.times)

    def summary(self) -> dict[str, float | int | str]:
        """Counts of what was kept and of what was lost by reason, and the median quality."""
        shown = {"frames_with_others": self.accompanied, "frames_covered": self.covered, "frames_cut_off": self.cut_off}
        return {
            **summarize(self.indices.tolist(), dict(self.dropped)),
            **{name: count for name, count in shown.items() if count},
            "quality": float(np.median(self.quality)),
        }

    @property
    def centre(self) -> tuple[float, float]:
        """The middle of the video's picture, the likely principal point, in fractions of the square's side."""
        return (self.width / 2 - self.crop.x) / self.crop.side, (self.height / 2 - self.crop.y) / self.crop.side


def observe(path: Path, config: ObserveConfig | None = None, progress: Progress | None = None) -> Observations:
    """Find one face in a video, and its landmarks, mattes, part maps, quality and identity.

    Args:
        path: the video.
        config: how many frames, how large, by which models.
        progress: told the share done and a short text after each frame of each step.

    Raises:
        PegasusError: the video's faults (see `open_video`); NO_FACE or TOO_FEW_FRAMES where too few frames show a face;
            SEVERAL_PEOPLE; ASSET_MISSING where a model file is not on this machine.
    """
    config = config or ObserveConfig()
    report = progress or (lambda share, text: None)
    video = open_video(path, least=config.min_frames)
    followed = _follow(video, config, report)
    faces, dropped = followed.faces, dict(followed.dropped)
    _require_faces(len(faces), dropped, config, path)

    crop = choose_crop(np.stack([face.box for face in faces.values()]), followed.width, followed.height)
    for index in [index for index, face in faces.items() if _is_outside(crop.fractions(face.points))]:
        dropped[index] = DropReason.OUTSIDE_CROP
        del faces[index]
    _require_faces(len(faces), dropped, config, path)

    frames = _segment(video, followed, crop, config, report)
    landmarks = np.stack([crop.fractions(face.points) for face in faces.values()])
    seen = features_seen(frames.parts, landmarks)
    quality = quality_of(list(faces.values()), frames.images, frames.mattes, landmarks, seen)
    identity = _identity(frames.images, landmarks, quality, config, path)
    return Observations(
        source=path.name,
        images=frames.images,
        mattes=frames.mattes,
        parts=frames.parts,
        landmarks=landmarks,
        blendshapes=np.stack([face.blendshapes for face in faces.values()]),
        times=frames.times,
        indices=np.array(list(faces), np.int32),
        quality=quality,
        identity=identity,
        crop=crop,
        width=followed.width,
        height=followed.height,
        fps=video.fps,
        dropped=tuple(sorted(dropped.items())),
        accompanied=len(followed.bystanders.keys() & faces.keys()),
        covered=int((seen < MIN_FEATURES_SEEN).sum()),
        cut_off=video.announced - video.frames,
        models=models_of(config),
    )


def _follow(video: VideoFile, config: ObserveConfig, report: Progress) -> Followed:
    """One person's faces, and why there is none in the other frames."""
    follower = Follower(landmark_model_of(config.landmarks, threads=config.threads))
    wanted = evenly(video.frames, config.max_frames)
    for frame in _reporting(video.read(wanted, longest=MAX_SEARCH_SIDE), "landmarks", len(wanted), report):
        follower.add(frame)
    return follower.choose()


def _require_faces(kept: int, dropped: dict[int, DropReason], config: ObserveConfig, path: Path) -> None:
    """Refuse a video with too few frames of the face, or with too small a share of those in the face's own shot.

    Args:
        kept: how many frames show the face.
        dropped: the other frames, and why each was left out.
        config: how many are needed.
        path: the video, for the error.

    Raises:
        PegasusError: NO_FACE, TOO_FEW_FRAMES.
    """
    looked_at = kept + sum(loss is not DropReason.ANOTHER_SHOT for loss in dropped.values())
    why = ", ".join(f"{n} {loss}" for loss in DropReason if (n := sum(lost is loss for lost in dropped.values())))
    if kept < config.min_face_share * looked_at or not kept:
        message = f"{kept} of {looked_at} frames show a face ({why}); give a video of one head that faces the camera"
        raise PegasusError(Reason.NO_FACE, message, subject=str(path))
    if kept < config.min_frames:
        message = f"{kept} frames show the face ({why}) and {config.min_frames} are needed; give a longer video"
        raise PegasusError(Reason.TOO_FEW_FRAMES, message, subject=str(path))


def _is_outside(points: Floats) -> bool:
    """Whether too many landmarks, (478, 2) fractions of the square, lie outside of it."""
    return float((np.abs(points - 0.5).max(-1) > 0.5).mean()) > _MAX_SHARE_OUTSIDE


def _segment(
    video: VideoFile, followed: Followed, crop: Crop, config: ObserveConfig, report: Progress
) -> SegmentedFrames:
    """The square of each frame with its matte and part map.

    Two passes over the frames: rough mattes first, because the background that refines them is taken from all frames.
    """
    faces, bystanders = followed.faces, followed.bystanders
    work = min(crop.side, 2 * config.size, _MAX_WORKING_SIDE)
    matte_models = model_pool(lambda: matte_model_of(config.matte, threads=1), config.threads)
    parsers = model_pool(lambda: parser_of(config.parser, threads=1), config.threads)

    def matte_roughly(frame: Frame) -> tuple[Bytes, Bytes, float]:
        picture = resize(crop.take(frame.image), work)
        others = [crop.fractions(box) * work for box in bystanders.get(frame.index, ())]
        own = crop.fractions(faces[frame.index].box) * work
        with matte_models() as model:
            rough = rough_matte(picture, model)
        return picture, without_bystanders(rough, own, others), frame.time

    def matte_and_parse(picture: Bytes, rough: Bytes, face: Face) -> tuple[Bytes, Bytes, Bytes]:
        matte, clean = refine(picture, rough, plate)
        with parsers() as parser:
            labels = parser(picture, crop.fractions(face.points) * work, matte)
        image, opacity = resize_matted(clean, matte, config.size)
        return image, opacity, fill_matte(resize_labels(labels, config.size), opacity)

    with ThreadPoolExecutor(config.threads) as pool:
        first = map_in_order(pool, matte_roughly, video.read(faces), config.threads)
        pictures, incomplete, times = zip(*_reporting(first, "mattes", len(faces), report), strict=True)
        rough = with_shoulders(pictures, incomplete)
        plate = Plate.of(pictures, rough)
        second = pool.map(matte_and_parse, pictures, rough, faces.values())
        images, mattes, parts = zip(*_reporting(second, "parts", len(faces), report), strict=True)
    return SegmentedFrames(
        images=np.stack(images), mattes=np.stack(mattes), parts=np.stack(parts), times=np.array(times, np.float32)
    )


def _reporting(results: Iterable[Result], step: str, total: int, report: Progress) -> Iterator[Result]:
    """The same results; progress is reported after each."""
    begin, share = _STEPS[step]
    for done, result in enumerate(results, 1):
        yield result
        report(begin + share * done / total, f"{step} {done}/{total}")


def _identity(images: Bytes, landmarks: Floats, quality: Floats, config: ObserveConfig, path: Path) -> Floats:
    """The face's embedding, (D,), from the best frames of each stretch of the video.

    Raises:
        PegasusError: SEVERAL_PEOPLE.
    """
    model = identity_model_of(config.identity)
    if model is None:
        return np.zeros(0, np.float32)
    chosen = best_frames(quality, config.identity_frames)
    vectors = model.embed(images[chosen], landmarks[chosen])
    require_one_person(vectors, model.limit, str(path))
    return np.asarray(np.median(vectors, 0), dtype=np.float32)


def models_of(config: ObserveConfig) -> tuple[tuple[str, str], ...]:
    """Name and sha256 of the model files that this configuration uses on this machine."""
    identity = identity_file(config.identity)
    names = [FACE_MODEL, MATTE_MODEL, *parser_files(config.parser), *([identity] if identity else [])]
    return tuple((name, digest_of(name)) for name in names)
