"""A video as one person's face: frames in one fixed square, with mattes, parts and landmarks.

The video is read twice: once for the landmarks, which decide the square, once for the pictures in it. Only the square of
the chosen frames is ever kept.

Legend: T frames, S side of the frames in the result, W side of the square while it is worked on, both in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets.files import digest_of
from pegasus_ray.perception.footage.bystanders import without_bystanders
from pegasus_ray.perception.footage.crop import Crop, choose_crop, resize, resize_matted
from pegasus_ray.perception.footage.follow import LONGEST, Followed, Follower, summarize
from pegasus_ray.perception.footage.quality import COVERED, features, quality_of
from pegasus_ray.perception.footage.shoulders import with_shoulders
from pegasus_ray.perception.footage.video import Clip, Frame, open_clip
from pegasus_ray.perception.nets.identity import identity_file, identity_model_of, require_one_person, sample
from pegasus_ray.perception.nets.landmarks import FACE_MODEL, Face, landmark_model_of
from pegasus_ray.perception.nets.matte import MATTE_MODEL, Plate, matte_model_of, refine, rough_matte
from pegasus_ray.perception.nets.parser import fill_matte, parser_files, parser_of, resize_labels
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.perception.nets.threads import in_order, one_each
from pegasus_ray.schemas.errors import Loss, PegasusError, Reason

Result = TypeVar("Result")
Progress = Callable[[str, int, int], None]
"""Called with (what is going on, frames done, frames in all)."""

_LARGEST = 768  # side of the square while it is worked on, at most
_OUTSIDE = 0.1  # share of the landmarks that may lie outside of the square


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveConfig:
    """How to look at a video."""

    max_frames: int = 300  # evenly spaced over the clip
    size: int = 256  # S
    landmarks: str = "mediapipe"
    parser: str = "auto"  # auto, bisenet, segformer, landmarks
    matte: str = "auto"  # auto, selfie
    identity: str = "auto"  # auto, dlib, arcface, none
    identity_frames: int = 6  # from which the identity is taken
    min_frames: int = 8  # fewer with a face are an error
    min_face_share: float = 0.5  # of the frames looked at
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
    """What was seen in a video; frames and coordinates as in `Track`."""

    source: str  # the file's name
    images: Bytes  # (T, S, S, 3) RGB with the video's background; in the matte's soft edge the person's own colour
    mattes: Bytes  # (T, S, S) opacity of the person
    parts: Bytes  # (T, S, S) `Label`
    landmarks: Floats  # (T, 478, 2) fractions of the side
    blendshapes: Floats  # (T, 52)
    times: Floats  # (T,) seconds
    indices: npt.NDArray[np.int32]  # (T,) frame numbers in the video
    quality: Floats  # (T,) 0–1, see `quality_of`
    identity: Floats  # (D,) whose face it is, see `identity_model_of`; (0,) without such a model
    crop: Crop  # the square in the video's picture
    width: int  # of the video's picture in pixels
    height: int
    fps: float
    dropped: tuple[tuple[int, Loss], ...]  # frame numbers that were looked at and left out, and why
    accompanied: int  # how many of the frames show other faces too
    covered: int  # and in how many nose or mouth are hidden: a hand, a mask
    cut_off: int  # frames that the file announces and does not have
    models: tuple[tuple[str, str], ...]  # name and sha256 of the model files used

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def summary(self) -> dict[str, float | int | str]:
        """What was kept and what was lost and why, for people and machines."""
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
    """Find one face in a video and everything about it that 2D nets can say.

    Args:
        path: the video.
        config: how many frames, how large, by which models.
        progress: called after each frame of each pass.

    Raises:
        PegasusError: the video's faults (see `open_clip`); NO_FACE or TOO_FEW_FRAMES where too few frames show a face;
            ASSET_MISSING where a model file is not on this machine.
    """
    config = config or ObserveConfig()
    report = progress or (lambda *_: None)
    clip = open_clip(path, least=config.min_frames)
    followed = _follow(clip, config, report)
    faces, dropped, (width, height) = followed.faces, dict(followed.dropped), (followed.width, followed.height)
    _require(len(faces), dropped, config, path)

    crop = choose_crop(np.stack([face.box for face in faces.values()]), width, height)
    for index in [index for index, face in faces.items() if _leaves(crop.fractions(face.points))]:
        dropped[index] = Loss.OUTSIDE_CROP
        del faces[index]
    _require(len(faces), dropped, config, path)

    pictures = _look(clip, followed, crop, config, report)
    landmarks = np.stack([crop.fractions(face.points) for face in faces.values()])
    seen = features(pictures.parts, landmarks)
    quality = quality_of(list(faces.values()), pictures.images, pictures.mattes, landmarks, seen)
    identity = _identity(pictures.images, landmarks, quality, config, path)
    return Observations(
        source=path.name,
        images=pictures.images,
        mattes=pictures.mattes,
        parts=pictures.parts,
        landmarks=landmarks,
        blendshapes=np.stack([face.blendshapes for face in faces.values()]),
        times=pictures.times,
        indices=np.array(list(faces), np.int32),
        quality=quality,
        identity=identity,
        crop=crop,
        width=width,
        height=height,
        fps=clip.fps,
        dropped=tuple(sorted(dropped.items())),
        accompanied=len(followed.bystanders.keys() & faces.keys()),
        covered=int((seen < COVERED).sum()),
        cut_off=clip.announced - clip.frames,
        models=models_of(config),
    )


def _follow(clip: Clip, config: ObserveConfig, report: Progress) -> Followed:
    """One person's faces, and what became of the other frames."""
    follower = Follower(landmark_model_of(config.landmarks, threads=config.threads))
    wanted = clip.spread(config.max_frames)
    for done, frame in enumerate(clip.read(wanted, longest=LONGEST)):
        follower.see(frame)
        report("landmarks", done + 1, len(wanted))
    return follower.choose()


def _require(kept: int, dropped: dict[int, Loss], config: ObserveConfig, path: Path) -> None:
    """Enough frames, and a face in enough of those that are not another shot's."""
    looked_at = kept + sum(loss is not Loss.ANOTHER_SHOT for loss in dropped.values())
    why = ", ".join(f"{n} {loss}" for loss in Loss if (n := sum(lost is loss for lost in dropped.values())))
    if kept < config.min_face_share * looked_at or not kept:
        message = f"{kept} of {looked_at} frames show a face ({why}); give a video of one head that faces the camera"
        raise PegasusError(Reason.NO_FACE, message, subject=str(path))
    if kept < config.min_frames:
        message = f"{kept} frames show the face ({why}) and {config.min_frames} are needed; give a longer video"
        raise PegasusError(Reason.TOO_FEW_FRAMES, message, subject=str(path))


def _leaves(points: Floats) -> bool:
    """Whether too many landmarks, (478, 2) fractions of the square, lie outside of it."""
    return float((np.abs(points - 0.5).max(-1) > 0.5).mean()) > _OUTSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pictures:
    images: Bytes  # (T, S, S, 3)
    mattes: Bytes  # (T, S, S)
    parts: Bytes  # (T, S, S)
    times: Floats  # (T,)


def _look(clip: Clip, followed: Followed, crop: Crop, config: ObserveConfig, report: Progress) -> _Pictures:
    """The square of each frame with its matte and parts."""
    faces, bystanders = followed.faces, followed.bystanders
    work = min(crop.side, 2 * config.size, _LARGEST)
    matte_models = one_each(lambda: matte_model_of(config.matte, threads=1), config.threads)
    parsers = one_each(lambda: parser_of(config.parser, threads=1), config.threads)

    def roughly(frame: Frame) -> tuple[Bytes, Bytes, float]:
        picture = resize(crop.take(frame.image), work)
        others = [crop.fractions(box) * work for box in bystanders.get(frame.index, ())]
        own = crop.fractions(faces[frame.index].box) * work
        with matte_models() as model:
            rough = rough_matte(picture, model)
        return picture, without_bystanders(rough, own, others), frame.time

    def finely(picture: Bytes, rough: Bytes, face: Face) -> tuple[Bytes, Bytes, Bytes]:
        matte, clean = refine(picture, rough, plate)
        with parsers() as parser:
            labels = parser(picture, crop.fractions(face.points) * work, matte)
        image, opacity = resize_matted(clean, matte, config.size)
        return image, opacity, fill_matte(resize_labels(labels, config.size), opacity)

    with ThreadPoolExecutor(config.threads) as pool:
        seen = _told(in_order(pool, roughly, clip.read(faces), config.threads), "mattes", len(faces), report)
        frames, missing, times = zip(*seen, strict=True)
        rough = with_shoulders(frames, missing)
        plate = Plate.of(frames, rough)
        done = pool.map(finely, frames, rough, faces.values())
        images, mattes, parts = zip(*_told(done, "parts", len(faces), report), strict=True)
    return _Pictures(
        images=np.stack(images), mattes=np.stack(mattes), parts=np.stack(parts), times=np.array(times, np.float32)
    )


def _told(results: Iterable[Result], what: str, total: int, report: Progress) -> Iterator[Result]:
    """The same results, each told as it comes."""
    for done, result in enumerate(results):
        yield result
        report(what, done + 1, total)


def _identity(images: Bytes, landmarks: Floats, quality: Floats, config: ObserveConfig, path: Path) -> Floats:
    """Whose face it is, (D,), by the best frames from the whole clip; one person's, or the clip is refused."""
    model = identity_model_of(config.identity)
    if model is None:
        return np.zeros(0, np.float32)
    chosen = sample(quality, config.identity_frames)
    vectors = model.embed(images[chosen], landmarks[chosen])
    require_one_person(vectors, model.limit, str(path))
    return np.asarray(np.median(vectors, 0), dtype=np.float32)


def models_of(config: ObserveConfig) -> tuple[tuple[str, str], ...]:
    """Name and sha256 of the model files that this configuration uses on this machine."""
    identity = identity_file(config.identity)
    names = [FACE_MODEL, MATTE_MODEL, *parser_files(config.parser), *([identity] if identity else [])]
    return tuple((name, digest_of(name)) for name in names)
