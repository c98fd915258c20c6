"""A video as one person's face: frames in one fixed square, with mattes, parts and landmarks.

The video is read twice: once for the landmarks, which decide the square, once for the pictures in it. Only the square of
the chosen frames is ever kept.

Legend: T frames, S side of the frames in the result, W side of the square while it is worked on, both in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets import MANIFEST, available
from pegasus_ray.perception.crop import Crop, choose_crop, resize, resize_matted
from pegasus_ray.perception.landmarks import FACE_MODEL, Face, FaceMesh
from pegasus_ray.perception.matte import MATTE_MODEL, Plate, matte_model_of, refine, rough_matte
from pegasus_ray.perception.parser import HAIR_MODEL, PARSER_MODEL, fill_matte, parser_of, resize_labels
from pegasus_ray.perception.square import Bytes, Floats
from pegasus_ray.perception.video import Clip, open_clip
from pegasus_ray.schemas.errors import PegasusError, Reason

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, frames done, frames in all)."""

_LARGEST = 768  # side of the square while it is worked on, at most
_OUTSIDE = 0.1  # share of the landmarks that may lie outside of the square


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserveConfig:
    """How to look at a video."""

    max_frames: int = 300  # evenly spaced over the clip
    size: int = 256  # S
    parser: str = "auto"  # auto, bisenet, landmarks
    matte: str = "auto"  # auto, selfie
    min_frames: int = 8  # fewer with a face are an error
    min_face_share: float = 0.5  # of the frames looked at
    threads: int = 2

    def __post_init__(self) -> None:
        if not 16 <= self.size <= 2048:
            raise PegasusError(Reason.BAD_CONFIG, "must be from 16 to 2048 pixels", subject=f"size={self.size}")
        if not 1 <= self.min_frames <= self.max_frames:
            message = f"must be from 1 to max_frames, {self.max_frames}"
            raise PegasusError(Reason.BAD_CONFIG, message, subject=f"min_frames={self.min_frames}")


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
    quality: Floats  # (T,) 0–1: how sure the face, how sharp beside the clip's median, how well covered by the matte
    crop: Crop  # the square in the video's picture
    width: int  # of the video's picture in pixels
    height: int
    fps: float
    dropped: tuple[tuple[int, str], ...]  # frame numbers that were looked at and left out, and why
    models: tuple[tuple[str, str], ...]  # name and sha256 of the model files used

    def __len__(self) -> int:
        return int(self.images.shape[0])

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
    faces, (height, width) = _find_faces(clip, config, report)
    dropped = {int(index): "no face" for index in clip.spread(config.max_frames) if int(index) not in faces}
    _require(faces, dropped, config, path)

    crop = choose_crop(np.stack([face.box for face in faces.values()]), width, height)
    for index in [index for index, face in faces.items() if _leaves(crop.fractions(face.points))]:
        dropped[index] = "face outside of the crop"
        del faces[index]
    _require(faces, dropped, config, path)

    pictures = _look(clip, faces, crop, config, report)
    landmarks = np.stack([crop.fractions(face.points) for face in faces.values()])
    scores = np.array([face.score for face in faces.values()], np.float32)
    return Observations(
        source=path.name,
        images=pictures.images,
        mattes=pictures.mattes,
        parts=pictures.parts,
        landmarks=landmarks,
        blendshapes=np.stack([face.blendshapes for face in faces.values()]),
        times=pictures.times,
        indices=np.array(list(faces), np.int32),
        quality=scores * _sharpness(pictures.images, landmarks) * _covered(pictures.mattes, landmarks),
        crop=crop,
        width=width,
        height=height,
        fps=clip.fps,
        dropped=tuple(sorted(dropped.items())),
        models=models_of(config),
    )


def _find_faces(clip: Clip, config: ObserveConfig, report: Progress) -> tuple[dict[int, Face], tuple[int, int]]:
    """One person's face by frame number, and the picture's height and width."""
    mesh = FaceMesh(threads=config.threads)
    wanted = clip.spread(config.max_frames)
    faces: dict[int, Face] = {}
    last = None
    shape = (0, 0)
    for done, frame in enumerate(clip.read(wanted)):
        shape = (frame.image.shape[0], frame.image.shape[1])
        face = mesh.detect(frame.image, last)
        if face is not None:
            faces[frame.index] = face
            last = face.points
        report("landmarks", done + 1, len(wanted))
    return faces, shape


def _require(faces: dict[int, Face], dropped: dict[int, str], config: ObserveConfig, path: Path) -> None:
    looked_at = len(faces) + len(dropped)
    if len(faces) < config.min_face_share * looked_at or not faces:
        message = f"{len(faces)} of {looked_at} frames show a face; give a video of one head that faces the camera"
        raise PegasusError(Reason.NO_FACE, message, subject=str(path))
    if len(faces) < config.min_frames:
        message = f"{len(faces)} frames show a face and {config.min_frames} are needed; give a longer video"
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


def _look(clip: Clip, faces: dict[int, Face], crop: Crop, config: ObserveConfig, report: Progress) -> _Pictures:
    """The square of each frame with its matte and parts."""
    work = min(crop.side, 2 * config.size, _LARGEST)
    model = matte_model_of(config.matte, threads=config.threads)
    parser = parser_of(config.parser, threads=config.threads)
    frames, rough, times = [], [], []
    for done, frame in enumerate(clip.read(faces)):
        frames.append(resize(crop.take(frame.image), work))
        rough.append(rough_matte(frames[-1], model))
        times.append(frame.time)
        report("mattes", done + 1, len(faces))
    plate = Plate.of(frames, rough)
    images, mattes, parts = [], [], []
    for done, face in enumerate(faces.values()):
        matte, clean = refine(frames[done], rough[done], plate)
        labels = parser(frames[done], crop.fractions(face.points) * work, matte)
        image, opacity = resize_matted(clean, matte, config.size)
        images.append(image)
        mattes.append(opacity)
        parts.append(fill_matte(resize_labels(labels, config.size), opacity))
        report("parts", done + 1, len(faces))
    return _Pictures(
        images=np.stack(images), mattes=np.stack(mattes), parts=np.stack(parts), times=np.array(times, np.float32)
    )


def _sharpness(images: Bytes, landmarks: Floats) -> Floats:
    """Detail of the face in each frame beside the clip's median, (T,) 0–1."""
    size = images.shape[1]
    detail = []
    for image, points in zip(images, landmarks, strict=True):
        (left, top), (right, bottom) = (
            np.clip(points.min(0) * size, 0, size - 2),
            np.clip(points.max(0) * size, 2, size),
        )
        grey = cv2.cvtColor(image[int(top) : int(bottom), int(left) : int(right)], cv2.COLOR_RGB2GRAY)
        detail.append(float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()))
    return np.clip(np.array(detail) / max(float(np.median(detail)), 1e-6), 0, 1).astype(np.float32)


def _covered(mattes: Bytes, landmarks: Floats) -> Floats:
    """Share of the landmarks that the matte covers in each frame, (T,) 0–1."""
    size = mattes.shape[1]
    columns, rows = np.moveaxis(np.clip(landmarks * size, 0, size - 1).astype(np.int64), -1, 0)
    inside = mattes[np.arange(len(mattes))[:, None], rows, columns] > 127
    return np.asarray(inside.mean(1), dtype=np.float32)


def models_of(config: ObserveConfig) -> tuple[tuple[str, str], ...]:
    """Name and sha256 of the model files that this configuration uses on this machine."""
    names = [FACE_MODEL, MATTE_MODEL]
    if config.parser != "landmarks" and available(PARSER_MODEL):
        names.append(PARSER_MODEL)
    elif available(HAIR_MODEL):
        names.append(HAIR_MODEL)
    return tuple((asset.name, asset.sha256) for asset in MANIFEST if asset.name in names)
