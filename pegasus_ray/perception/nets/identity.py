"""Whose face it is: a vector that is alike for pictures of one person, behind one protocol.

`dlib`: the residual net of dlib's author (128 numbers; the same person within about 0.4, another from about 0.7).
`arcface`: an ArcFace net in ONNX, run by onnxruntime (512 numbers of unit length). Faces are aligned by our own landmarks.

Legend: N pictures, S their side in pixels, D numbers of a vector.
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
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.errors import PegasusError, Reason

DLIB_MODEL: Final = "dlib_face_recognition_resnet_model_v1.dat"
ARCFACE_MODEL: Final = "arcface_w600k_r50.onnx"

_CORNERS: Final = (33, 133, 362, 263)  # of the eyes, from the left of the picture to the right
_BASE: Final = 2  # where the nose ends above the lip
_TIP: Final = 1
_MOUTH: Final = (61, 291)  # corners
_IRISES: Final = (468, 473)

_DLIB_PLACES: Final = np.array([(0.12, 0.214), (0.334, 0.229), (0.646, 0.229), (0.86, 0.213), (0.49, 0.628)])
"""Where dlib's net wants corners of the eyes and base of the nose, in a face's square without its margin."""
_DLIB_MARGIN: Final = 0.25
_DLIB_SIDE: Final = 150
_ARC_PLACES: Final = np.array([(38.29, 51.7), (73.53, 51.5), (56.03, 71.74), (41.55, 92.37), (70.73, 92.2)])
"""Where ArcFace nets want irises, tip of the nose and corners of the mouth, in pixels of their input."""
_ARC_SIDE: Final = 112


class IdentityModel(Protocol):
    """Says whose face it is."""

    @property
    def limit(self) -> float:
        """Distance from which two pictures show two people."""

    def embed(
        self,
        images: Bytes,  # (N, S, S, 3) RGB
        landmarks: Floats,  # (N, 478, 2) fractions of the side
    ) -> Floats:
        """A vector a face, (N, D)."""


def identity_model_of(name: str) -> IdentityModel | None:
    """The model of that name: `dlib`, `arcface`, `none`, or `auto`, which is `dlib` where this machine has it.

    Raises:
        PegasusError: BAD_CONFIG for another name; ASSET_MISSING where its file or its package is not here.
    """
    if name == "auto":
        name = "dlib" if available(DLIB_MODEL) and find_spec("dlib") else "none"
    match name:
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
    found = {"dlib": DLIB_MODEL, "arcface": ARCFACE_MODEL}
    return found.get("dlib" if name == "auto" and available(DLIB_MODEL) and find_spec("dlib") else name)


def distance(one: Floats, other: Floats) -> float:
    """How unlike two people are by their vectors (D,), or by the medians of their vectors (N, D) each: Euclidean."""
    first, second = (np.median(np.atleast_2d(vectors), 0) for vectors in (one, other))
    return float(np.linalg.norm(first - second))


class DlibIdentity:
    """dlib's recognition net, 128 numbers.

    Raises:
        PegasusError: ASSET_MISSING where the package `dlib-bin` is not installed.
    """

    limit: float = 0.55  # of a median over many pairs; its author's 0.6 is for one

    def __init__(self, model: Path) -> None:
        self._net = _load_dlib(str(model))

    def embed(self, images: Bytes, landmarks: Floats) -> Floats:
        """A vector a face, (N, 128); see `IdentityModel`."""
        places = (_DLIB_PLACES + _DLIB_MARGIN) / (1 + 2 * _DLIB_MARGIN) * _DLIB_SIDE
        chips = _aligned(images, landmarks[:, [*_CORNERS, _BASE]], places, _DLIB_SIDE)
        return np.array([self._net.compute_face_descriptor(chip) for chip in chips], np.float32).reshape(-1, 128)


class ArcFaceIdentity:
    """An ArcFace net: (N, 3, 112, 112) RGB in ±1 to vectors, which are brought to unit length.

    Raises:
        PegasusError: ASSET_MISSING where the package `onnxruntime` is not installed; ASSET_CORRUPT where the file is no
            such net.
    """

    limit: float = 1.2

    def __init__(self, model: Path) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise _lacking("onnxruntime", "pip install 'pegasus-ray[arcface]'") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        try:
            self._net = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            message = f"cannot be read by onnxruntime: {error}; fetch it again"
            raise PegasusError(Reason.ASSET_CORRUPT, message, subject=model.name) from error
        self._input = self._net.get_inputs()[0].name

    def embed(self, images: Bytes, landmarks: Floats) -> Floats:
        """A vector a face, (N, D); see `IdentityModel`."""
        chips = _aligned(images, landmarks[:, [*_IRISES, _TIP, *_MOUTH]], _ARC_PLACES, _ARC_SIDE)
        vectors = [
            self._net.run(None, {self._input: ((chip.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]})[0]
            for chip in chips
        ]
        found = np.concatenate(vectors).astype(np.float32)
        return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9))


def sample(quality: Floats, count: int) -> npt.NDArray[np.int64]:
    """The best frame of each of `count` stretches of a clip, ascending, from the frames' quality (T,)."""
    stretches = np.array_split(np.arange(len(quality)), min(count, len(quality)))
    return np.array([stretch[quality[stretch].argmax()] for stretch in stretches])


def require_one_person(vectors: Floats, limit: float, subject: str) -> None:
    """Refuse a clip whose face becomes another's: vectors (N, D) in order of time.

    Raises:
        PegasusError: SEVERAL_PEOPLE.
    """
    apart = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    for cut in range(2, len(vectors) - 1):  # two pictures each side at least: one alone may be a bad one
        between = float(np.median(apart[:cut, cut:]))
        if between > limit:
            message = (
                f"the face becomes another person's (distance {between:.2f}, one person's stays below {limit:.2f}); "
                "cut the video so that it shows one"
            )
            raise PegasusError(Reason.SEVERAL_PEOPLE, message, subject=subject)


def _aligned(images: Bytes, points: Floats, places: npt.NDArray[np.float64], side: int) -> list[Bytes]:
    """Each face turned, moved and scaled so that its points (N, P, 2), in sides, come nearest to `places` (P, 2)."""
    chips = []
    for image, at in zip(images, points.astype(np.float64), strict=True):
        matrix = _similarity(at * image.shape[0] - 0.5, places - 0.5)  # OpenCV counts from pixel centres
        blur = 0.5 * (1 / max(float(np.hypot(*matrix[:, 0])), 1e-3) - 1)
        smooth = cv2.GaussianBlur(image, (0, 0), blur) if blur > 0.2 else image  # a linear filter alone skips pixels
        chips.append(np.asarray(cv2.warpAffine(smooth, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)))
    return chips


def _similarity(points: npt.NDArray[np.float64], places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Turn, scale and shift, (2, 3), that bring points (P, 2) nearest to places (P, 2) in the least squares."""
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
        raise _lacking("dlib", "pip install dlib-bin") from error
    return dlib.face_recognition_model_v1(path)


def _lacking(package: str, remedy: str) -> PegasusError:
    return PegasusError(Reason.ASSET_MISSING, f"the package is not installed; {remedy}", subject=package)
