"""A drawn face: 478 landmarks whose outlines are where a face has them, and a picture of it."""

from __future__ import annotations

import cv2
import numpy as np

from pegasus_ray.perception.nets import mesh_topology as mesh
from pegasus_ray.perception.nets.face_regions import face_placement
from pegasus_ray.perception.nets.square import Bytes, Floats

SKIN, HAIR, SHIRT, WALL = (205, 150, 125), (60, 40, 30), (70, 90, 160), (190, 200, 195)


def ring(points: Floats, indices: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]) -> None:
    """Put the landmarks of a closed outline on an ellipse, in order, the first where it lies on a face."""
    first = {mesh.FACE_OVAL: -90.0}.get(indices, 180.0 if centre[0] <= 0 else 0.0)
    direction = 1 if indices is mesh.FACE_OVAL or centre[0] > 0 else -1
    for step, index in enumerate(indices):
        angle = np.deg2rad(first + direction * 360 * step / len(indices))
        points[index] = centre[0] + radii[0] * np.cos(angle), centre[1] + radii[1] * np.sin(angle)


def lips(points: Floats, centre: tuple[float, float], width: float, opening: float) -> None:
    """Outer and inner outline of a mouth."""
    for upper, lower, across, thick in (
        (mesh.LIP_UPPER[:11], mesh.LIP_LOWER[:11], width, 0.035),
        (mesh.LIP_UPPER[11:], mesh.LIP_LOWER[11:], 0.8 * width, 0.0),
    ):
        at = np.linspace(-across, across, 11)
        if thick == 0:
            at = at[::-1]
        arc = np.sqrt(np.maximum(1 - (at / across) ** 2, 0))
        for indices, sign in ((upper, -1), (lower, 1)):
            for index, x, bow in zip(indices, at, arc, strict=True):
                points[index] = centre[0] + x, centre[1] + sign * bow * (opening / 2 + thick)


def landmarks(size: int, *, x: float = 0.5, y: float = 0.42, height: float = 0.44) -> Floats:
    """Landmarks (478, 2) in pixels of a frontal face; centre and height are fractions of the frame's side."""
    points = np.zeros((478, 2), np.float32)
    cheek = np.random.default_rng(0).uniform(-0.15, 0.15, (478, 2))
    points[:] = cheek
    for indices, side in zip(mesh.CHEEKS, (-1, 1), strict=True):
        ring(points, indices, (0.22 * side, 0.12), (0.07, 0.06))
    ring(points, mesh.FACE_OVAL, (0, 0), (0.38, 0.5))
    ring(points, mesh.NOSE, (0, 0.05), (0.07, 0.12))
    for eye, brow, side in ((mesh.EYE_LEFT, mesh.BROW_LEFT, -1), (mesh.EYE_RIGHT, mesh.BROW_RIGHT, 1)):
        ring(points, eye, (0.17 * side, -0.1), (0.075, 0.03))
        ring(points, brow, (0.17 * side, -0.19), (0.09, 0.018))
    lips(points, (0, 0.27), 0.13, 0.06)
    return (points * height * size + np.array([x, y]) * size).astype(np.float32)


def portrait(size: int) -> tuple[Bytes, Bytes, Floats]:
    """A drawn bust: image (size, size, 3), matte (size, size) and landmarks (478, 2) in pixels."""
    points = landmarks(size)
    image = np.full((size, size, 3), WALL, np.uint8)
    matte = np.zeros((size, size), np.uint8)
    frame = face_placement(points)
    middle, high, wide = (round(frame.x), round(frame.y)), frame.height, frame.width

    def ellipse(colour: tuple[int, int, int], at: tuple[int, int], axes: tuple[float, float]) -> None:
        for canvas, ink in ((image, colour), (matte, 255)):
            cv2.ellipse(canvas, at, (round(axes[0]), round(axes[1])), 0, 0, 360, ink, -1)

    ellipse(HAIR, (middle[0], round(middle[1] - 0.14 * high)), (0.62 * wide, 0.62 * high))
    ellipse(SKIN, (middle[0], round(middle[1] + 0.62 * high)), (0.24 * wide, 0.3 * high))
    ellipse(SHIRT, (middle[0], round(middle[1] + 1.25 * high)), (1.15 * wide, 0.5 * high))
    ellipse(SKIN, middle, (0.5 * wide, 0.5 * high))
    return image, matte, points
