"""Glasses: two rims before the eyes, a bridge over the nose, temples to the ears, and lenses that let nearly all light through.

Legend: P points along a wire, N vertices of a piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pegasus_ray.rig.model import Tissue
from pegasus_ray.studio.arrays import Floats, Ints
from pegasus_ray.studio.figure.piece import Material, Piece, grid_faces, unit
from pegasus_ray.studio.figure.rigid import rigid_piece
from pegasus_ray.studio.figure.skull import Skull
from pegasus_ray.studio.person import Glasses, GlassesStyle

RIM_POINTS: Final = 56  # around a rim
WIRE_CORNERS: Final = 8  # of a wire's cross-section
MAX_RIM_PUSHES: Final = 12  # steps of a millimetre by which a rim is moved forwards until it is off the face


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measures:
    """Measures of a style, in metres."""

    width: float  # half of a rim
    height: float  # half of a rim
    exponent: float  # of the superellipse that outlines the rim: 2 is an ellipse
    wire: tuple[float, float]  # half extents of the rim across the lens and along the view
    apart: float  # how far the middles of the rims lie outwards of the eyes


MEASURES: Final[dict[GlassesStyle, _Measures]] = {
    GlassesStyle.ROUND: _Measures(width=0.0225, height=0.0215, exponent=2.0, wire=(0.0008, 0.0008), apart=0.0025),
    GlassesStyle.RECTANGULAR: _Measures(width=0.0265, height=0.0170, exponent=4.0, wire=(0.0021, 0.0016), apart=0.0030),
}


def make_glasses(glasses: Glasses, skull: Skull) -> list[Piece]:
    """The frame and the lenses, in that order. They sit on the nose and move with the head."""
    measures = MEASURES[glasses.style]
    rims = [_rim(measures, eye, side, skull) for eye, side in zip(_eyes(skull), (-1.0, 1.0), strict=True)]
    inner = [
        rim[rim[:, 0].argmin() if side > 0 else rim[:, 0].argmax()] for rim, side in zip(rims, (-1, 1), strict=True)
    ]
    inner = [point + np.array([0, 0.35 * measures.height, 0], np.float32) for point in inner]
    wires = [_wire(np.concatenate([rim, rim[:1]]), *measures.wire) for rim in rims]
    wires.append(_wire(_bridge(inner[0], inner[1], skull), *measures.wire))
    for rim, side in zip(rims, (-1.0, 1.0), strict=True):
        wires.append(_wire(_temple(rim, side, measures, skull), measures.wire[0], 0.0010))
    return [
        rigid_piece(skull, Material.FRAME, *_joined(wires)),
        rigid_piece(skull, Material.LENS, *_joined([_lens(rim) for rim in rims])),
    ]


def _eyes(skull: Skull) -> tuple[Floats, Floats]:
    """The eyeballs' centres, the one at negative x first."""
    eye = np.unique(skull.rig.faces.numpy()[(skull.rig.tissue == Tissue.EYE).numpy()])
    side = skull.rig.template.numpy()[eye, 0] > 0
    return skull.vertices[eye[~side]].mean(0), skull.vertices[eye[side]].mean(0)


def _rim(measures: _Measures, eye: Floats, side: float, skull: Skull) -> Floats:
    """The outline of a lens (RIM_POINTS, 3), as close to the face as brow and cheek allow."""
    angle = np.linspace(0, 2 * np.pi, RIM_POINTS, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    across = np.sign(cosine) * np.abs(cosine) ** (2 / measures.exponent) * measures.width
    up = np.sign(sine) * np.abs(sine) ** (2 / measures.exponent) * measures.height
    x = eye[0] + side * (measures.apart + across)
    z = eye[2] + 0.018 - 1.6 * x**2 + 0.06 * up
    ring = np.stack([x, eye[1] - 0.003 + up, z], 1).astype(np.float32)
    clear = ring[across > -0.4 * measures.width]  # the inner side rests on the nose
    for _ in range(MAX_RIM_PUSHES):
        if skull.distance(clear)[0].min() > measures.wire[1] + 0.001:
            break
        ring[:, 2] += 0.001
        clear[:, 2] += 0.001
    return ring


def _bridge(one: Floats, other: Floats, skull: Skull) -> Floats:
    """The path of the bridge from rim to rim over the nose, (P, 3)."""
    share = np.linspace(0, 1, 13, dtype=np.float32)[:, None]
    path = one + share * (other - one)
    path[:, 1] += 0.0025 * np.sin(np.pi * share[:, 0])
    return skull.push_out(path.astype(np.float32), np.full(len(path), 0.0022, np.float32))


def _temple(rim: Floats, side: float, measures: _Measures, skull: Skull) -> Floats:
    """The path of a temple (P, 3): from the outer end of the rim to the ear, and a little down behind it."""
    hinge = rim[(side * rim[:, 0]).argmax()] + np.array([side * 0.001, 0.4 * measures.height, 0], np.float32)
    centre, half = skull.ears[0 if side < 0 else 1]
    over = np.array([centre[0] - 0.2 * side * half[0], centre[1] + 0.55 * half[1], centre[2]], np.float32)
    behind = over + np.array([-0.003 * side, -0.014, -0.018], np.float32)
    ahead = np.linspace(0, 1, 18, dtype=np.float32)[:, None]
    path = np.concatenate([hinge + ahead * (over - hinge), over + ahead[1:8] * 2.4 * (behind - over)])
    return skull.push_out(path.astype(np.float32), np.full(len(path), 0.0020, np.float32))


def _wire(path: Floats, across: float, deep: float) -> tuple[Floats, Ints]:
    """A rod along a path (P, 3), with half extents `across` in the picture and `deep` along the view, in metres."""
    ahead = unit(np.gradient(path, axis=0).astype(np.float32))
    forward = np.broadcast_to(np.array([0, 0, 1], np.float32), path.shape)
    aside = np.cross(ahead, forward)
    weak = np.linalg.norm(aside, axis=1, keepdims=True) < 0.5
    aside = unit(np.where(weak, np.cross(ahead, np.array([1, 0, 0], np.float32)), aside).astype(np.float32))
    other = np.cross(aside, ahead)
    angle = 2 * np.pi * (np.arange(WIRE_CORNERS) + 0.5) / WIRE_CORNERS
    ring = across * np.cos(angle)[None, :, None] * aside[:, None] + deep * np.sin(angle)[None, :, None] * other[:, None]
    return (path[:, None] + ring).reshape(-1, 3).astype(np.float32), grid_faces(len(path), WIRE_CORNERS, closed=True)


def _lens(rim: Floats) -> tuple[Floats, Ints]:
    """A shallow bowl inside a rim."""
    shares = np.array([0.02, 0.35, 0.7, 1.0], np.float32)
    centre = rim.mean(0) + np.array([0, 0, 0.0016], np.float32)
    rings = centre + shares[:, None, None] * (rim - centre)
    rings[..., 2] = centre[2] + (shares**2)[:, None] * (rim[:, 2] - centre[2])
    return rings.reshape(-1, 3).astype(np.float32), grid_faces(len(shares), RIM_POINTS, closed=True)


def _joined(meshes: list[tuple[Floats, Ints]]) -> tuple[Floats, Ints]:
    """Meshes as one."""
    starts = np.cumsum([0] + [len(points) for points, _ in meshes])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=False)]
    return np.concatenate([points for points, _ in meshes]), np.concatenate(faces)
