"""What perception saw, drawn over the frames: for people to judge a track by.

Legend: T frames, H side of the drawn pictures, V vertices, L landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch

from pegasus_ray.library.track import Track
from pegasus_ray.perception.crop import resize
from pegasus_ray.perception.square import Bytes, Floats
from pegasus_ray.render.camera import Camera
from pegasus_ray.rig.model import Pose, Rig, bone_transforms, skin, surface
from pegasus_ray.schemas.parts import Label

LABEL_COLOURS: dict[Label, tuple[int, int, int]] = {
    Label.BACKGROUND: (0, 0, 0),
    Label.SKIN: (222, 184, 150),
    Label.BROW_LEFT: (120, 70, 20),
    Label.BROW_RIGHT: (170, 110, 40),
    Label.EYE_LEFT: (30, 60, 220),
    Label.EYE_RIGHT: (40, 150, 240),
    Label.GLASSES: (240, 230, 60),
    Label.EAR_LEFT: (230, 60, 200),
    Label.EAR_RIGHT: (160, 40, 170),
    Label.EARRING: (60, 230, 230),
    Label.NOSE: (250, 120, 110),
    Label.MOUTH: (110, 10, 20),
    Label.LIP_UPPER: (220, 30, 50),
    Label.LIP_LOWER: (170, 20, 70),
    Label.NECK: (160, 125, 95),
    Label.NECKLACE: (245, 245, 245),
    Label.CLOTH: (70, 130, 80),
    Label.HAIR: (95, 65, 35),
    Label.HAT: (40, 220, 60),
}
"""RGB of each label in drawn part maps."""

SEEN, FITTED, MESH = (60, 230, 60), (250, 60, 60), (90, 190, 255)


def draw_overlay(track: Track, rig: Rig, *, side: int = 384) -> Iterator[Bytes]:
    """One wide picture a frame, (H, 3 H, 3) RGB.

    From the left: landmarks as seen (green) and as the fitted rig has them (red) with the rig's vertices that face the
    camera (blue); the person on white; the parts.
    """
    palette = np.array([LABEL_COLOURS[label] for label in Label], np.uint8)
    for frame, white in enumerate(track.on_white()):
        vertices, landmarks = _project(track, rig, frame)
        shown = resize(track.images[frame], side)
        _dots(shown, vertices * side, MESH, radius=0.4)
        _dots(shown, track.landmarks[frame] * side, SEEN, radius=1.0)
        _dots(shown, landmarks * side, FITTED, radius=0.8)
        parts = cv2.resize(track.parts[frame], (side, side), interpolation=cv2.INTER_NEAREST)
        tinted = 0.7 * palette[parts] + 0.3 * resize(track.images[frame], side)
        yield np.concatenate([shown, resize(white, side), tinted.astype(np.uint8)], axis=1)


def _project(track: Track, rig: Rig, frame: int) -> tuple[Floats, Floats]:
    """The rig's vertices that face the camera, (≤ V, 2), and its landmarks, (≤ L, 2), in sides of the frame."""
    shape = torch.from_numpy(track.shape)[None]
    expression = torch.from_numpy(track.expression[frame : frame + 1])
    pose = Pose.of(track, slice(frame, frame + 1))
    rest = rig.vertices(shape, expression)
    moved = skin(rest, rig.skin_weights, bone_transforms(rig, pose, rig.joints(shape)))
    camera = Camera.of(torch.from_numpy(track.camera[frame : frame + 1]))

    corners = moved[0][rig.faces]
    outward = torch.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    facing = torch.zeros(rest.shape[1], dtype=torch.bool)
    facing[rig.faces[(outward * corners.mean(1)).sum(-1) < 0]] = True
    vertices = camera.project(moved[:, facing], 1)[0][0]

    known = rig.landmarks.weights > 0
    on_face = surface(moved[0], rig.faces, rig.landmarks.triangles[known], rig.landmarks.barycentric[known])
    return vertices.numpy(), camera.project(on_face[None], 1)[0][0].numpy()


def _dots(canvas: Bytes, points: Floats, colour: tuple[int, int, int], *, radius: float) -> None:
    """Discs at points (N, 2) in pixels, centres at +.5, drawn to a sixteenth of a pixel."""
    for x, y in np.round((points - 0.5) * 16).astype(int):
        cv2.circle(canvas, (int(x), int(y)), round(16 * radius), colour, -1, cv2.LINE_AA, shift=4)
