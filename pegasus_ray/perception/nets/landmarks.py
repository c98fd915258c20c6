"""478 face landmarks and 52 blendshape scores of a picture.

Three small networks, all inside one file: a face detector (128²), a landmark network on a rotated square around the face
(256²), and a network from 146 of the landmarks to blendshape scores. Inputs follow the published model cards: letterboxed
RGB in ±1 for the detector, RGB in 0–1 for the landmarks, pixels for the scores.

Legend: H, W sides of the picture in pixels.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from pegasus_ray.library.track import BLENDSHAPES, LANDMARKS
from pegasus_ray.perception.assets.files import path_of
from pegasus_ray.perception.nets.litert import LiteRtNet
from pegasus_ray.perception.nets.mesh_topology import FIRST_IRIS, OUTER_EYE_CORNERS
from pegasus_ray.perception.nets.square import Bytes, Floats, Square
from pegasus_ray.schemas.errors import PegasusError, Reason

FACE_MODEL: Final = "face_landmarker.task"

_SCORED_LANDMARKS = """
0 1 4 5 6 7 8 10 13 14 17 21 33 37 39 40 46 52 53 54 55 58 61 63 65 66 67 70 78 80 81 82 84 87 88 91 93 95 103
105 107 109 127 132 133 136 144 145 146 148 149 150 152 153 154 155 157 158 159 160 161 162 163 168 172 173 176
178 181 185 191 195 197 234 246 249 251 263 267 269 270 276 282 283 284 285 288 291 293 295 296 297 300 308 310
311 312 314 317 318 321 323 324 332 334 336 338 356 361 362 365 373 374 375 377 378 379 380 381 382 384 385 386
387 388 389 390 397 398 400 402 405 409 415 454 466 468 469 470 471 472 473 474 475 476 477
"""
_SCORED: Final = np.array(_SCORED_LANDMARKS.split(), dtype=np.int64)  # what the blendshape network reads, in its order
_NAMES = """
browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft
cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight
eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft
eyeWideRight jawForward jawLeft jawOpen jawRight mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft
mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight
mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft
mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft
noseSneerRight tongueOut
"""
ARKIT_NAMES: Final = tuple(_NAMES.split())
"""The expression that each blendshape score is of, in the order of `Face.blendshapes`."""

_DETECTOR_SIDE: Final = 128  # pixels, of the network's input
_LANDMARK_SIDE: Final = 256
_MARGIN: Final = 1.5  # side of the landmark network's square / side of the face's box
_SAME_FACE_SIDES: Final = 0.3  # squares whose centres are nearer than this, in their sides, are around one face
_MIN_DETECTION_SCORE: Final = 0.5
_MIN_SCORE: Final = 0.5  # of the landmark network, `Face.score`
_MIN_SQUARE_PIXELS: Final = 4.0  # a smaller square holds no face
_MAX_SQUARE_SIDES: Final = 8.0  # of the picture; a larger square holds none either


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """A face in a picture."""

    points: Floats  # (478, 2) pixels of the picture, centres at +.5
    depth: Floats  # (478,) pixels away from the viewer, relative to the face's middle, rough
    blendshapes: Floats  # (52,) 0–1, in the order of `ARKIT_NAMES`; tongueOut is always 0
    score: float  # 0–1, how sure the landmark network is that there is a face

    @property
    def box(self) -> Floats:
        """Bounding box of the landmarks, (2, 2): lowest and highest x, y."""
        return np.stack([self.points.min(0), self.points.max(0)])


def square_around(points: Floats) -> Square:
    """The square that the landmark network wants for a face with these landmarks (478, 2), rotated with the eyes."""
    left, right = points[OUTER_EYE_CORNERS[0]], points[OUTER_EYE_CORNERS[1]]
    angle = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    upright = points[:FIRST_IRIS] @ turn
    low, high = upright.min(0), upright.max(0)
    x, y = turn @ ((low + high) / 2)
    return Square(x=float(x), y=float(y), side=_MARGIN * float((high - low).max()), angle=angle)


class LandmarkModel(Protocol):
    """Finds faces in a picture."""

    def detect_all(
        self,
        rgb: Bytes,  # (H, W, 3)
        previous: Sequence[Floats],  # (478, 2) each: the landmarks of people in the picture before
    ) -> tuple[list[Face | None], list[Face]]:
        """The face that continues each of `previous`, None where it is lost; and the other faces in the picture."""
        ...


def landmark_model_of(name: str, *, threads: int = 2) -> LandmarkModel:
    """The landmark model of that name: `mediapipe`.

    Raises:
        PegasusError: BAD_CONFIG for another name, ASSET_MISSING where its file is not here.
    """
    if name == "mediapipe":
        return FaceMesh(threads=threads)
    raise PegasusError(Reason.BAD_CONFIG, "is no landmark model; there is: mediapipe", subject=f"landmarks={name}")


class FaceMesh:
    """Finds faces in a picture; a `LandmarkModel`.

    Args:
        threads: how many threads the networks may use.

    Raises:
        PegasusError: ASSET_MISSING or ASSET_CORRUPT.
    """

    def __init__(self, *, threads: int = 2) -> None:
        with zipfile.ZipFile(path_of(FACE_MODEL)) as nets:
            self._detector = LiteRtNet(nets.read("face_detector.tflite"), threads=threads)
            self._landmarks = LiteRtNet(nets.read("face_landmarks_detector.tflite"), threads=threads)
            self._scores = LiteRtNet(nets.read("face_blendshapes.tflite"), threads=threads)
        self._anchors = _anchors()

    def detect(self, rgb: Bytes) -> Face | None:
        """The largest face in a picture (H, W, 3)."""
        for square in self._candidates(rgb):
            face = self._converge(rgb, square)
            if face is not None:
                return face
        return None

    def detect_all(
        self,
        rgb: Bytes,  # (H, W, 3)
        previous: Sequence[Floats],  # (478, 2) each: the landmarks of people in the picture before
    ) -> tuple[list[Face | None], list[Face]]:
        """See `LandmarkModel`.

        Parts of the picture are searched for small faces only where nobody is followed, because that is slow.
        """
        followed = [self._converge(rgb, square_around(points)) for points in previous]
        seen = [face for face in followed if face is not None]
        others: list[Face] = []
        for square in self._candidates(rgb, in_parts=not seen):
            if not any(_is_around(square, face) for face in (*seen, *others)):
                found = self._converge(rgb, square)
                if found is None:
                    continue
                around = square_around(found.points)
                if not any(_is_around(around, face) for face in (*seen, *others)):
                    others.append(found)
        return followed, others

    def _converge(self, rgb: Bytes, square: Square) -> Face | None:
        """The face in a square, found again in the square around its own landmarks until that stays where it is.

        The answer then hardly depends on the square that it began with.
        """
        face = None
        for _ in range(3):
            found = self._in_square(rgb, square)
            if found is None:
                return None
            face, begun, square = found, square, square_around(found.points)
            moved = np.hypot(square.x - begun.x, square.y - begun.y) / square.side
            if moved < 0.02 and abs(square.side / begun.side - 1) < 0.03 and abs(square.angle - begun.angle) < 0.05:
                break
        return face

    def _in_square(self, rgb: Bytes, square: Square) -> Face | None:
        """The landmark network's answer for one square; None where it sees no face there."""
        if not _MIN_SQUARE_PIXELS < square.side < _MAX_SQUARE_SIDES * max(rgb.shape[:2]):
            return None
        outputs = self._landmarks(square.sample(rgb, _LANDMARK_SIDE).astype(np.float32) / 255)
        mesh = outputs[0].reshape(LANDMARKS, 3)
        score = float(_sigmoid(outputs[1].ravel()[0]))
        if score < _MIN_SCORE:
            return None
        points = square.to_picture(mesh[:, :2], _LANDMARK_SIDE)
        blendshapes = np.zeros(BLENDSHAPES, np.float32)
        # The network's first score is "neutral", which is left out; it has none for tongueOut, the last.
        blendshapes[:-1] = self._scores(points[_SCORED])[0].ravel()[1:]
        depth = mesh[:, 2] * np.float32(square.side / _LANDMARK_SIDE)
        return Face(points=points, depth=depth, blendshapes=blendshapes, score=score)

    def _candidates(self, rgb: Bytes, *, in_parts: bool = True) -> list[Square]:
        """Squares for the landmark network around detected faces, the largest first.

        Where the whole picture shows no face to the detector, faces too small for it are sought in parts of the picture, if
        `in_parts` is set.
        """
        height, width = rgb.shape[:2]
        whole = Square(x=width / 2, y=height / 2, side=max(height, width))
        found = self._detect_faces(rgb, whole)
        for divisor in (1, 2) if in_parts else ():
            side = min(height, width) / divisor
            if not found and side >= _DETECTOR_SIDE:
                across = np.arange(side / 2, width - side / 2 + 1, side / 2)
                down = np.arange(side / 2, height - side / 2 + 1, side / 2)
                found = [f for y in down for x in across for f in self._detect_faces(rgb, Square(x=x, y=y, side=side))]
        return sorted(found, key=lambda square: -square.side)

    def _detect_faces(self, rgb: Bytes, region: Square) -> list[Square]:
        """The detector's squares in a region of the picture; of several around one face only the surest."""
        outputs = self._detector(region.sample(rgb, _DETECTOR_SIDE).astype(np.float32) / 127.5 - 1)
        regressors, logits = sorted((output[0] for output in outputs), key=lambda output: -output.shape[-1])
        scores = _sigmoid(logits[:, 0])
        squares: list[Square] = []
        for index in np.argsort(-scores, kind="stable"):
            if scores[index] < _MIN_DETECTION_SCORE:
                break
            values = (regressors[index].reshape(-1, 2) / _DETECTOR_SIDE).astype(np.float64)
            values[[0, *range(2, 8)]] += self._anchors[index]
            corners = region.to_picture(values * _DETECTOR_SIDE, _DETECTOR_SIDE)  # centre, size, eye, eye and others
            side = float(values[1].max()) * region.side
            (x, y), (one, other) = corners[0], corners[2:4]
            angle = float(np.arctan2(other[1] - one[1], other[0] - one[0]))
            square = Square(x=float(x), y=float(y), side=_MARGIN * side, angle=angle)
            if all(np.hypot(square.x - s.x, square.y - s.y) > _SAME_FACE_SIDES * s.side for s in squares):
                squares.append(square)
        return squares


def _is_around(square: Square, face: Face) -> bool:
    """Whether a square is around that face."""
    around = square_around(face.points)
    return float(np.hypot(square.x - around.x, square.y - around.y)) < _SAME_FACE_SIDES * max(square.side, around.side)


def _anchors() -> Floats:
    """Centres (896, 2) of the detector's anchors as fractions of its input: two a cell of 16², six a cell of 8²."""
    centres = []
    for cells, each in ((16, 2), (8, 6)):
        at = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(at, at, indexing="ij")
        centres.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), each, axis=0))
    return np.concatenate(centres).astype(np.float32)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -50.0, 50.0))))
