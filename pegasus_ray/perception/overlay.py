"""What perception saw, drawn over the frames: for people to judge a track by.

Legend: T frames, H side of the drawn pictures, V vertices, L landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.library.track import Track
from pegasus_ray.perception.footage.crop import resize
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.perception.tracking.rig_state import view_terms
from pegasus_ray.render.camera import Camera
from pegasus_ray.rig.model import Pose, Rig, bone_transforms, rodrigues, skin, surface
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

SEEN, FITTED, MESH = (60, 230, 60), (250, 60, 60), (120, 215, 255)
TINT = 0.5
"""Opacity of the part colours over the picture."""
_FINE = 2  # the mesh is drawn so many times larger: its lines are thinner than a pixel
_VEIL = 0.6  # opacity of its lines


def draw_overlay(track: Track, rig: Rig, *, side: int = 384) -> Iterator[Bytes]:
    """One wide picture a frame, (H, 3 H, 3) RGB.

    From the left: the fitted rig's mesh where it faces the camera (blue), landmarks as seen (green) and as the rig has
    them (red), with the frame's number and the mean distance of the two in percent of the outer-eye distance; the person
    on white; the parts.
    """
    palette = np.array([LABEL_COLOURS[label] for label in Label], np.uint8)
    edges = _grid(rig)
    known = (rig.landmarks.weights > 0).numpy()
    for frame, white in enumerate(track.on_white()):
        vertices, facing, landmarks = _project(track, rig, frame)
        seen = track.landmarks[frame]
        shown = _veiled(resize(track.images[frame], side), vertices, edges[facing[edges].all(1)])
        _dots(shown, seen[known] * side, SEEN, radius=0.0045 * side)
        _dots(shown, landmarks * side, FITTED, radius=0.0032 * side)
        eyes = max(float(np.linalg.norm(seen[33] - seen[263])), 1e-6)
        apart = np.linalg.norm(seen[known] - landmarks, axis=-1).mean() / eyes
        _write(shown, f"{track.indices[frame]}   {100 * apart:.2f} %")
        parts = cv2.resize(track.parts[frame], (side, side), interpolation=cv2.INTER_NEAREST)
        tinted = np.where(
            (parts == Label.BACKGROUND)[..., None],
            0.4 * resize(track.images[frame], side),
            TINT * palette[parts] + (1 - TINT) * resize(track.images[frame], side),
        )
        yield np.concatenate([shown, resize(white, side), tinted.astype(np.uint8)], axis=1)


def _grid(rig: Rig) -> npt.NDArray[np.int64]:
    """Edges of the mesh, (E, 2), without each triangle's longest, which is a quad's diagonal."""
    corners = rig.faces.numpy()
    ends = np.stack([corners, np.roll(corners, -1, 1)], -1)  # (F, 3, 2)
    template = rig.template.numpy()
    length = np.linalg.norm(template[ends[..., 0]] - template[ends[..., 1]], axis=-1)
    sides = ends[np.arange(3) != length.argmax(1)[:, None]]
    return np.unique(np.sort(sides, 1), axis=0).astype(np.int64)


def _project(track: Track, rig: Rig, frame: int) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    """The rig's vertices, (V, 2) in sides of the frame, which of them face the camera, and its landmarks, (≤ L, 2)."""
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
    vertices = camera.project(moved, 1)[0][0]

    known = rig.landmarks.weights > 0
    on_face = surface(moved[0], rig.faces, rig.landmarks.triangles[known], rig.landmarks.barycentric[known])
    if rig.landmarks.drift is not None:
        on_face = on_face + _drifted(rig.landmarks.drift[:, known], pose.head)
    return vertices.numpy(), facing.numpy(), camera.project(on_face[None], 1)[0][0].numpy()


def _drifted(drift: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """How far in camera space the detector sees landmarks (N, 3) from their places under a head's pose (1, 6)."""
    rotation, flip = rodrigues(head[:, :3]), torch.tensor([1.0, -1.0, -1.0])
    terms, _ = view_terms(rotation, head[:, 3:])
    return torch.einsum("d,dnc->nc", terms[0], drift * flip) @ rotation[0].T


def _dots(canvas: Bytes, points: Floats, colour: tuple[int, int, int], *, radius: float) -> None:
    """Discs at points (N, 2) in pixels, centres at +.5, drawn to a sixteenth of a pixel."""
    for x, y in np.round((points - 0.5) * 16).astype(int):
        cv2.circle(canvas, (int(x), int(y)), round(16 * radius), colour, -1, cv2.LINE_AA, shift=4)


def _veiled(image: Bytes, vertices: Floats, edges: npt.NDArray[np.int64]) -> Bytes:
    """A picture (H, H, 3) under the thin lines of a mesh: vertices (V, 2) in sides, edges (E, 2)."""
    side = len(image)
    lines = np.round((vertices[edges] * side * _FINE - 0.5) * 16).astype(np.int32)
    drawn = np.zeros((side * _FINE, side * _FINE), np.uint8)
    cv2.polylines(drawn, list(lines), False, 255, 1, cv2.LINE_AA, shift=4)
    share = _VEIL * cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA)[..., None] / 255
    return np.asarray(np.round(image * (1 - share) + np.array(MESH) * share), dtype=np.uint8)


def _write(canvas: Bytes, text: str) -> None:
    """A line of text in the upper left corner, white with a dark rim."""
    size = max(len(canvas) / 800, 0.4)
    place = (round(12 * size), round(32 * size))
    for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)
