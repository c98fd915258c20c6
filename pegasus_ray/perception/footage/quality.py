"""How good the frames of a video are, and which of them have landmarks that cannot be right.

The quality of a frame is a product of five shares, each 0–1:

- how sure the landmark network is that it sees a face;
- sharpness: the face's detail, relative to the median over the video;
- coverage: the share of the landmarks that the matte covers;
- features: the share of nose and lips, where the landmarks have them, that the parser sees there too. A hand or a mask
  over the mouth costs most of it. The parser `landmarks` draws these parts from the landmarks: with it the share is always
  1;
- facing: the cosine of the head's rotation away from the camera.

Legend: T frames, S side of the frames in pixels, N landmarks of the skin.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from pegasus_ray.perception.nets import mesh_topology as mesh
from pegasus_ray.perception.nets.face_regions import polygon
from pegasus_ray.perception.nets.landmarks import Face
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.parts import Label

MIN_FEATURES_SEEN: Final = 0.3
"""Where less of nose or mouth is seen (`features_seen`), a hand, a mask or something else covers them."""
_MAX_SHAPE_ERROR_EYES: Final = 0.2
"""Outer-eye distances: landmarks whose shape in space is farther from the video's usual one are not those of the face. People
who talk or grimace stay below 0.08."""
_MIN_FRAMES_FOR_USUAL: Final = 5  # fewer frames do not say what is usual
_FEATURES: Final = (
    ((mesh.NOSE,), (Label.NOSE,)),
    ((mesh.LIP_UPPER, mesh.LIP_LOWER, mesh.MOUTH), (Label.MOUTH, Label.LIP_UPPER, Label.LIP_LOWER)),
)
"""Polygons of landmarks, and the labels that a parser has to see inside them."""


def quality_of(faces: Sequence[Face], images: Bytes, mattes: Bytes, landmarks: Floats, seen: Floats) -> Floats:
    """Quality of each frame, (T,) 0–1: the product of the five shares.

    Args:
        faces: as the landmark network found them, T.
        images: (T, S, S, 3).
        mattes: (T, S, S).
        landmarks: (T, 478, 2) fractions of the side.
        seen: (T,) of `features_seen`.
    """
    scores = np.array([face.score for face in faces], np.float32)
    turned = np.array([facing(face) for face in faces], np.float32)
    return scores * turned * seen * sharpness(images, landmarks) * coverage(mattes, landmarks)


def sharpness(images: Bytes, landmarks: Floats) -> Floats:
    """Detail of the face in each frame, relative to the median over the video, (T,) 0–1."""
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


def features_seen(parts: Bytes, landmarks: Floats) -> Floats:
    """Share of the nose or of the lips that is seen where the landmarks have it, the lesser of the two, (T,) 0–1.

    Args:
        parts: (T, S, S) `Label`.
        landmarks: (T, 478, 2) fractions of the side.
    """
    shares = [_feature_share(labels, points) for labels, points in zip(parts, landmarks, strict=True)]
    return np.array(shares, np.float32)


def _feature_share(labels: Bytes, points: Floats) -> float:
    """`features_seen` of one frame: labels (S, S), landmarks (478, 2) fractions of the side."""
    size = len(labels)
    shares = []
    for polygons, named in _FEATURES:
        inside = np.logical_or.reduce([polygon(points * size, indices, size) for indices in polygons])
        shares.append(float(np.isin(labels[inside], named).mean()) if inside.any() else 1.0)
    return min(shares)


def facing(face: Face) -> float:
    """Cosine of the angle between the face's direction and the camera's, 0–1."""
    points = _skin_points(face)
    across = points[mesh.TEMPLES[1]] - points[mesh.TEMPLES[0]]
    down = points[mesh.CHIN] - points[mesh.FOREHEAD_TOP]
    normal = np.cross(across, down)
    return float(np.clip(abs(normal[2]) / max(float(np.linalg.norm(normal)), 1e-9), 0, 1))


def plausible_frames(faces: Mapping[int, Face]) -> set[int]:
    """The frames whose landmarks have about the shape in space that is usual in the video, whatever its pose and size.

    Args:
        faces: by frame number.
    """
    if len(faces) < _MIN_FRAMES_FOR_USUAL:
        return set(faces)
    shapes = np.stack([_skin_points(face) for face in faces.values()])
    shapes -= shapes.mean(1, keepdims=True)
    shapes /= np.maximum(np.sqrt(np.square(shapes).sum(-1).mean(1)), 1e-6)[:, None, None]
    some = shapes[np.linspace(0, len(shapes) - 1, 7).astype(int)]
    usual = min(some, key=lambda shape: float(np.median(_shape_errors(shapes, shape))))  # to start from no outlier
    usual = np.median(_align_shapes(shapes, usual), 0)
    eyes = float(np.linalg.norm(usual[mesh.OUTER_EYE_CORNERS[0]] - usual[mesh.OUTER_EYE_CORNERS[1]]))
    errors = _shape_errors(shapes, usual)
    return {index for index, error in zip(faces, errors, strict=True) if error < _MAX_SHAPE_ERROR_EYES * eyes}


def _skin_points(face: Face) -> npt.NDArray[np.float64]:
    """The landmarks of the skin in space, (N, 3) pixels."""
    return np.column_stack([face.points, face.depth])[: mesh.FIRST_IRIS].astype(np.float64)


def _align_shapes(shapes: npt.NDArray[np.float64], usual: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Each centred shape (T, N, 3), rotated so that it comes nearest to the usual one (N, 3) (orthogonal Procrustes)."""
    left, _, right = np.linalg.svd(np.swapaxes(shapes, 1, 2) @ usual)
    left[:, :, -1] *= np.sign(np.linalg.det(left @ right))[:, None]
    return np.asarray(shapes @ left @ right)


def _shape_errors(shapes: npt.NDArray[np.float64], usual: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance of each shape from the usual one, root mean square over the points, (T,)."""
    return np.asarray(np.sqrt(np.square(_align_shapes(shapes, usual) - usual).sum(-1).mean(1)))
