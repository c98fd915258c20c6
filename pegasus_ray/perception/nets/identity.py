"""Identity embeddings: vectors that lie near each other for pictures of the same face.

`dlib`: the residual network of dlib's author (128 numbers; pictures of one person are within about 0.4 of each other, those
of two people from about 0.7 apart). `arcface`: an ArcFace network in ONNX, run by onnxruntime (512 numbers, of unit
length). Both get faces that are aligned by our own landmarks.

Legend: N pictures, S their side in pixels, D numbers of an embedding, P points of a face, T frames.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.assets.files import available, path_of
from pegasus_ray.perception.nets.mesh_topology import EYE_CORNERS, IRIS_CENTRES, MOUTH_CORNERS, NOSE_BASE, NOSE_TIP
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.errors import PegasusError, Reason

DLIB_MODEL: Final = "dlib_face_recognition_resnet_model_v1.dat"
ARCFACE_MODEL: Final = "arcface_w600k_r50.onnx"

_DLIB_PLACES: Final = np.array([(0.12, 0.214), (0.334, 0.229), (0.646, 0.229), (0.86, 0.213), (0.49, 0.628)])
"""Where dlib's network wants the corners of the eyes and the base of the nose, as fractions of the face's square before its
margin is added."""
_DLIB_MARGIN: Final = 0.25  # around that square, in its sides
_DLIB_INPUT_SIDE: Final = 150  # pixels
_ARCFACE_PLACES: Final = np.array([(38.29, 51.7), (73.53, 51.5), (56.03, 71.74), (41.55, 92.37), (70.73, 92.2)])
"""Where ArcFace networks want the irises, the tip of the nose and the corners of the mouth, in pixels of their input."""
_ARCFACE_INPUT_SIDE: Final = 112  # pixels


class IdentityModel(Protocol):
    """Says whose face it is."""

    @property
    def limit(self) -> float:
        """Distance between two embeddings from which on they are of two people."""

    def embed(
        self,
        images: Bytes,  # (N, S, S, 3) RGB
        landmarks: Floats,  # (N, 478, 2) fractions of the side
    ) -> Floats:
        """An embedding for each face, (N, D)."""


def identity_model_of(name: str) -> IdentityModel | None:
    """The model of that name: `dlib`, `arcface`, `none`, or `auto`, which is `dlib` where this machine has it.

    Raises:
        PegasusError: BAD_CONFIG for another name; ASSET_MISSING where its file or its package is not here.
    """
    match _without_auto(name):
        case "none":
            return None
        case "dlib":
            return DlibIdentity(path_of(DLIB_MODEL))
        case "arcface":
            return ArcFaceIdentity(path_of(ARCFACE_MODEL))
    raise PegasusError(
        Reason.BAD_CONFIG, "is no identity model; there are: auto, dlib, arcface, none", subject=f"identity={name}"
    )


def identity_file(name: str) -> str | None:
    """The asset that `identity_model_of(name)` would read on this machine."""
    return {"dlib": DLIB_MODEL, "arcface": ARCFACE_MODEL}.get(_without_auto(name))


def _without_auto(name: str) -> str:
    """The model's name, where `auto` is replaced by what this machine has."""
    if name != "auto":
        return name
    return "dlib" if available(DLIB_MODEL) and find_spec("dlib") else "none"


def distance(one: Floats, other: Floats) -> float:
    """Euclidean distance between two embeddings (D,), or between the medians of two sets of embeddings (N, D)."""
    first, second = (np.median(np.atleast_2d(vectors), 0) for vectors in (one, other))
    return float(np.linalg.norm(first - second))


class DlibIdentity:
    """dlib's face recognition network, 128 numbers.

    Args:
        model: the network's file.

    Raises:
        PegasusError: ASSET_MISSING where the package `dlib-bin` is not installed.
    """

    limit: float = 0.55  # for the median over many pairs of pictures; its author's 0.6 is for a single pair

    def __init__(self, model: Path) -> None:
        self._net = _load_dlib(str(model))

    def embed(self, images: Bytes, landmarks: Floats) -> Floats:
        """An embedding for each face, (N, 128); see `IdentityModel`."""
        places = (_DLIB_PLACES + _DLIB_MARGIN) / (1 + 2 * _DLIB_MARGIN) * _DLIB_INPUT_SIDE
        chips = _align_faces(images, landmarks[:, [*EYE_CORNERS, NOSE_BASE]], places, _DLIB_INPUT_SIDE)
        return np.array([self._net.compute_face_descriptor(chip) for chip in chips], np.float32).reshape(-1, 128)


class ArcFaceIdentity:
    """An ArcFace network: (N, 3, 112, 112) RGB in ±1 to embeddings, which are scaled to unit length.

    Args:
        model: the network's ONNX file.

    Raises:
        PegasusError: ASSET_MISSING where the package `onnxruntime` is not installed; ASSET_CORRUPT where the file cannot
            be read.
    """

    limit: float = 1.2  # Euclidean, between embeddings of unit length

    def __init__(self, model: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise _missing_package("onnxruntime", "pip install 'pegasus-ray[arcface]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._net = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            message = f"cannot be read by onnxruntime: {error}; fetch it again"
            raise PegasusError(Reason.ASSET_CORRUPT, message, subject=model.name) from error
        self._input = self._net.get_inputs()[0].name

    def embed(self, images: Bytes, landmarks: Floats) -> Floats:
        """An embedding for each face, (N, D); see `IdentityModel`."""
        points = landmarks[:, [*IRIS_CENTRES, NOSE_TIP, *MOUTH_CORNERS]]
        chips = _align_faces(images, points, _ARCFACE_PLACES, _ARCFACE_INPUT_SIDE)
        vectors = [
            self._net.run(None, {self._input: ((chip.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]})[0]
            for chip in chips
        ]
        found = np.concatenate(vectors).astype(np.float32)
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9))


def best_frames(quality: Floats, count: int) -> npt.NDArray[np.int64]:
    """Numbers of the best frame in each of `count` equal stretches of a video, ascending, by the frames' quality (T,)."""
    stretches = np.array_split(np.arange(len(quality)), min(count, len(quality)))
    return np.array([stretch[quality[stretch].argmax()] for stretch in stretches])


def require_one_person(vectors: Floats, limit: float, subject: str) -> None:
    """Refuse a video in which one person's face is followed by another's.

    The video is divided at each possible time; where the embeddings before and after it are too far apart in the median,
    two people were followed as one.

    Args:
        vectors: embeddings in order of time, (N, D).
        limit: distance from which on two embeddings are of two people.
        subject: the video's name, for the error.

    Raises:
        PegasusError: SEVERAL_PEOPLE.
    """
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    for cut in range(2, len(vectors) - 1):  # at least two pictures on each side, since a single one may be bad
        between = float(np.median(apart[:cut, cut:]))
        if between > limit:
            message = (
                f"the face becomes another person's (distance {between:.2f}, one person's stays below {limit:.2f}); "
                "cut the video so that it shows one"
            )
            raise PegasusError(Reason.SEVERAL_PEOPLE, message, subject=subject)


def _align_faces(images: Bytes, points: Floats, places: npt.NDArray[np.float64], side: int) -> list[Bytes]:
    """Each face rotated, moved and scaled so that its points come nearest to given places, N pictures (side, side, 3).

    Args:
        images: (N, S, S, 3).
        points: (N, P, 2) fractions of the side.
        places: (P, 2) pixels of the result.
        side: pixels of the result.
    """
    chips = []
    for image, at in zip(images, points.astype(np.float64), strict=True):
        matrix = _similarity(at * image.shape[0] - 0.5, places - 0.5)  # OpenCV counts from pixel centres
        blur = 0.5 * (1 / max(float(np.hypot(*matrix[:, 0])), 1e-3) - 1)
        smooth = cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.2 else image  # lest interpolation skip pixels
        chips.append(np.asarray(cv2.warpAffine(smooth, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)))
    return chips


def _similarity(points: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The similarity (2, 3) that brings points (P, 2) nearest to places (P, 2) in the sense of least squares."""
    here, there = points.mean(0), places.mean(0)
    a = (points - here) @ [1, 1j]
    b = (places - there) @ [1, 1j]
    factor = np.vdot(a, b) / max(float(np.vdot(a, a).real), 1e-9)
    linear = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([linear, there - linear @ here])


@lru_cache(maxsize=1)
def _load_dlib(path: str) -> Any:
    try:
        import dlib
    except ImportError as error:
        raise _missing_package("dlib", "pip install dlib-bin") from error
    return dlib.face_recognition_model_v1(path)


def _missing_package(package: str, remedy: str) -> PegasusError:
    return PegasusError(Reason.ASSET_MISSING, f"the package is not installed; {remedy}", subject=package)
