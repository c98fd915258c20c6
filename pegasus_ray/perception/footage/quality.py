"""How good the frames of a clip are, and which of them cannot be true.

The quality of a frame is a product of five shares, each 0–1:

- how sure the landmark net is that it sees a face;
- sharpness: detail of the face beside the clip's median;
- coverage: the share of the landmarks that the matte covers;
- features: the share of nose and lips, where the landmarks have them, that the parser sees there too. A hand or a mask
  over the mouth costs most of it. The parser `landmarks` draws what the landmarks say: with it this share is always 1;
- facing: the cosine of the head's turn away from the camera.

Legend: T frames, S side of the frames in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.nets import face_regions as regions
from pegasus_ray.perception.nets.landmarks import Face
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.parts import Label

_MESH: Final = 468
_EYES: Final = (33, 263)  # outer corners
_ODD: Final = 0.2
"""Outer-eye distances: landmarks whose shape in space is farther from the clip's than this are none of that face. Talking
and grimacing people stay below 0.08."""
COVERED: Final = 0.3
"""`features` below this: a hand, a mask or something else is before nose or mouth."""
_FEW: Final = 5  # frames; fewer say nothing about what is usual
_FEATURES: Final = (
    ((regions.NOSE,), (Label.NOSE,)),
    ((regions.LIP_UPPER, regions.LIP_LOWER, regions.MOUTH), (Label.MOUTH, Label.LIP_UPPER, Label.LIP_LOWER)),
)


def quality_of(faces: Sequence[Face], images: Bytes, mattes: Bytes, landmarks: Floats, seen: Floats) -> Floats:
    """Quality of each frame, (T,) 0–1; see above.

    Args:
        faces: as the landmark net has them.
        images: (T, S, S, 3).
        mattes: (T, S, S).
        landmarks: (T, 478, 2) fractions of the side.
        seen: (T,) of `features`.
    """
    scores = np.array([face.score for face in faces], np.float32)
    turned = np.array([facing(face) for face in faces], np.float32)
    return scores * turned * seen * sharpness(images, landmarks) * coverage(mattes, landmarks)


def sharpness(images: Bytes, landmarks: Floats) -> Floats:
    """Detail of the face in each frame beside the clip's median, (T,) 0–1."""
    size = images.shape[1]
    detail = []
    for image, points in zip(images, landmarks, strict=True):
        left, top = np.clip(points.min(0) * size, 0, size - 2).astype(int)
        right, bottom = np.clip(points.max(0) * size, 2, size).astype(int)
        grey = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_RGB2GRAY)
        detail.append(float(np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean()))
    return np.clip(np.array(detail) / max(float(np.median(detail)), 1e-6), 0, 1).astype(np.float32)


def coverage(mattes: Bytes, landmarks: Floats) -> Floats:
    """Share of the landmarks that the matte covers in each frame, (T,) 0–1."""
    size = mattes.shape[1]
    columns, rows = np.moveaxis(np.clip(landmarks * size, 0, size - 1).astype(np.int64), -1, 0)
    inside = mattes[np.arange(len(mattes))[:, None], rows, columns] > 127
    return np.asarray(inside.mean(1), dtype=np.float32)


def features(parts: Bytes, landmarks: Floats) -> Floats:
    """How much of nose and lips is seen where the landmarks have them, the lesser of the two in each frame, (T,) 0–1.

    Args:
        parts: (T, S, S) `Label`.
        landmarks: (T, 478, 2) fractions of the side.
    """
    return np.array([_features(labels, points) for labels, points in zip(parts, landmarks, strict=True)], np.float32)


def _features(labels: Bytes, points: Floats) -> float:
    size = len(labels)
    shares = []
    for polygons, named in _FEATURES:
        inside = np.logical_or.reduce([regions.polygon(points * size, indices, size) for indices in polygons])
        shares.append(float(np.isin(labels[inside], named).mean()) if inside.any() else 1.0)
    return min(shares)


def facing(face: Face) -> float:
    """Cosine of the angle between the face's direction and the camera's, 0–1."""
    points = _in_space(face)
    across, down = points[454] - points[234], points[152] - points[10]
    normal = np.cross(across, down)
    return float(np.clip(abs(normal[2]) / max(float(np.linalg.norm(normal)), 1e-9), 0, 1))


def plausible(faces: Mapping[int, Face]) -> set[int]:
    """Frames whose landmarks, turned and scaled, have about the shape in space that they have in the whole clip."""
    if len(faces) < _FEW:
        return set(faces)
    shapes = np.stack([_in_space(face) for face in faces.values()])
    shapes -= shapes.mean(1, keepdims=True)
    shapes /= np.maximum(np.sqrt(np.square(shapes).sum(-1).mean(1)), 1e-6)[:, None, None]
    some = shapes[np.linspace(0, len(shapes) - 1, 7).astype(int)]
    usual = min(some, key=lambda shape: float(np.median(_misses(shapes, shape))))  # not an odd one itself
    usual = np.median(_laid_over(shapes, usual), 0)
    eyes = float(np.linalg.norm(usual[_EYES[0]] - usual[_EYES[1]]))
    return {index for index, miss in zip(faces, _misses(shapes, usual), strict=True) if miss < _ODD * eyes}


def _in_space(face: Face) -> npt.NDArray[np.float64]:
    return np.column_stack([face.points, face.depth])[:_MESH].astype(np.float64)


def _laid_over(shapes: npt.NDArray[np.float64], usual: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each centred shape (T, N, 3), turned to come nearest to the usual one (N, 3)."""
    left, _, right = np.linalg.svd(np.swapaxes(shapes, 1, 2) @ usual)
    left[:, :, -1] *= np.sign(np.linalg.det(left @ right))[:, None]
    return np.asarray(shapes @ left @ right)


def _misses(shapes: npt.NDArray[np.float64], usual: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance of each shape from the usual one, root mean square over the points, (T,)."""
    return np.asarray(np.sqrt(np.square(_laid_over(shapes, usual) - usual).sum(-1).mean(1)))
