"""Draws what perception found over the frames, so that people can judge a track.

Legend: T frames, H side of the drawn pictures, V vertices, L landmarks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.library.track import Track
from pegasus_ray.perception.footage.crop import resize
from pegasus_ray.perception.nets.mesh_topology import OUTER_EYE_CORNERS
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.perception.tracking.rig_state import view_terms
from pegasus_ray.render.camera import Camera
from pegasus_ray.rig.model import Pose, Rig, bone_transforms, interpolate_on_surface, rodrigues, skin
from pegasus_ray.schemas.parts import Label

LABEL_COLOURS: Final[dict[Label, tuple[int, int, int]]] = {
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

SEEN_COLOUR: Final = (60, 230, 60)  # RGB, of landmarks as the network saw them
FITTED_COLOUR: Final = (250, 60, 60)  # RGB, of landmarks as the fitted rig has them
MESH_COLOUR: Final = (120, 215, 255)  # RGB
PART_OPACITY: Final = 0.5  # of the parts' colours over the picture
_MESH_SCALE: Final = 2  # the mesh is drawn at this many times the size, so that its lines become thinner than a pixel
_MESH_OPACITY: Final = 0.6


def draw_overlay(track: Track, rig: Rig, *, side: int = 384) -> Iterator[Bytes]:
    """One wide picture a frame, (H, 3 H, 3) RGB.

    From the left: the fitted rig's mesh where it faces the camera (blue), landmarks as seen (green) and as the rig has
    them (red), with the frame's number and the mean distance of the two in percent of the outer-eye distance; the person
    on white; the parts.

    Args:
        track: the frames and what was found in them.
        rig: the rig that was fitted to them.
        side: H.
    """
    palette = np.array([LABEL_COLOURS[label] for label in Label], np.uint8)
    edges = _quad_edges(rig)
    known = (rig.landmarks.weights > 0).numpy()
    for frame, white in enumerate(track.on_white()):
        vertices, facing, landmarks = _project(track, rig, frame)
        seen = track.landmarks[frame]
        shown = _draw_mesh(resize(track.images[frame], side), vertices, edges[facing[edges].all(1)])
        _draw_dots(shown, seen[known] * side, SEEN_COLOUR, radius=0.0045 * side)
        _draw_dots(shown, landmarks * side, FITTED_COLOUR, radius=0.0032 * side)
        eyes = max(float(np.linalg.norm(seen[OUTER_EYE_CORNERS[0]] - seen[OUTER_EYE_CORNERS[1]])), 1e-6)
        apart = np.linalg.norm(seen[known] - landmarks, axis=-1).mean() / eyes
        _draw_text(shown, f"{track.indices[frame]}   {100 * apart:.2f} %")
        parts = cv2.resize(track.parts[frame], (side, side), interpolation=cv2.INTER_NEAREST)
        tinted = np.where(
            (parts == Label.BACKGROUND)[..., None],
            0.4 * resize(track.images[frame], side),
            PART_OPACITY * palette[parts] + (1 - PART_OPACITY) * resize(track.images[frame], side),
        )
        yield np.concatenate([shown, resize(white, side), tinted.astype(np.uint8)], axis=1)


def _quad_edges(rig: Rig) -> npt.NDArray[np.int64]:
    """Edges of the mesh, (E, 2), without the longest edge of each triangle, which is the diagonal of a quad."""
    corners = rig.faces.numpy()
    ends = np.stack([corners, np.roll(corners, -1, 1)], -1)  # (F, 3, 2)
    template = rig.template.numpy()
    length = np.linalg.norm(template[ends[..., 0]] - template[ends[..., 1]], axis=-1)
    sides = ends[np.arange(3) != length.argmax(1)[:, None]]
    return np.unique(np.sort(sides, 1), axis=0).astype(np.int64)


def _project(track: Track, rig: Rig, frame: int) -> tuple[Floats, npt.NDArray[np.bool_], Floats]:
    """The rig in one frame of a track.

    Returns:
        Its vertices (V, 2) in sides of the frame; which of them face the camera, (V,); and the landmarks that it has, (≤ L, 2)
        in sides of the frame.
    """
    shape = torch.from_numpy(track.shape)[None]
    expression = torch.from_numpy(track.expression[frame : frame + 1])
    pose = Pose.of(track.select([frame]))
    rest = rig.vertices(shape, expression)
    moved = skin(rest, rig.skin_weights, bone_transforms(rig, pose, rig.joints(shape)))
    camera = Camera.of(torch.from_numpy(track.camera[frame : frame + 1]))

    corners = moved[0][rig.faces]
    outward = torch.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0], dim=-1)
    facing = torch.zeros(rest.shape[1], dtype=torch.bool)
    facing[rig.faces[(outward * corners.mean(1)).sum(-1) < 0]] = True
    vertices = camera.project(moved, 1)[0][0]

    known = rig.landmarks.weights > 0
    on_face = interpolate_on_surface(
        moved[0], rig.faces, rig.landmarks.triangles[known], rig.landmarks.barycentric[known]
    )
    if rig.landmarks.drift is not None:
        on_face = on_face + _drift(rig.landmarks.drift[:, known], pose.head)
    return vertices.numpy(), facing.numpy(), camera.project(on_face[None], 1)[0][0].numpy()


def _drift(drift: torch.Tensor, head: torch.Tensor) -> torch.Tensor:
    """How far off their true positions the network sees landmarks, (N, 3) metres in camera space, for a pose (1, 6)."""
    rotation, flip = rodrigues(head[:, :3]), torch.tensor([1.0, -1.0, -1.0])
    terms, _ = view_terms(rotation, head[:, 3:])
    return torch.einsum("d,dnc->nc", terms[0], drift * flip) @ rotation[0].T


def _draw_dots(canvas: Bytes, points: Floats, colour: tuple[int, int, int], *, radius: float) -> None:
    """Draw discs at points (N, 2) in pixels, centres at +.5, to a sixteenth of a pixel."""
    for x, y in np.round((points - 0.5) * 16).astype(int):
        cv2.circle(canvas, (int(x), int(y)), round(16 * radius), colour, -1, cv2.LINE_AA, shift=4)


def _draw_mesh(image: Bytes, vertices: Floats, edges: npt.NDArray[np.int64]) -> Bytes:
    """A picture (H, H, 3) under the thin lines of a mesh: vertices (V, 2) in sides, edges (E, 2)."""
    side = len(image)
    lines = np.round((vertices[edges] * side * _MESH_SCALE - 0.5) * 16).astype(np.int32)
    drawn = np.zeros((side * _MESH_SCALE, side * _MESH_SCALE), np.uint8)
    cv2.polylines(drawn, list(lines), False, 255, 1, cv2.LINE_AA, shift=4)
    share = _MESH_OPACITY * cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA)[..., None] / 255
    return np.asarray(np.round(image * (1 - share) + np.array(MESH_COLOUR) * share), dtype=np.uint8)


def _draw_text(canvas: Bytes, text: str) -> None:
    """Draw a line of text in the upper left corner, white with a dark rim."""
    size = max(len(canvas) / 800, 0.4)
    place = (round(12 * size), round(32 * size))
    for colour, thick in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(canvas, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA)
