"""Glasses: two rims before the eyes, a bridge over the nose, temples to the ears, and lenses that let nearly all light through.

Legend: P points along a wire, N vertices of a piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from pegasus_ray.rig.model import Tissue
from pegasus_ray.studio.figure.piece import Ints, Material, Piece, grid_faces, unit, vertex_normals
from pegasus_ray.studio.figure.skull import Skull
from pegasus_ray.studio.noise import Floats
from pegasus_ray.studio.people import Glasses, GlassesStyle

RING: Final = 56  # points around a rim
CORNERS: Final = 8  # of a wire's cross-section


@dataclass(frozen=True, slots=True, kw_only=True)
class _Make:
    """Measures of a style, in metres."""

    width: float  # half of a rim
    height: float  # half of a rim
    square: float  # exponent of the rim's outline: 2 is an ellipse
    wire: tuple[float, float]  # half extents of the rim across the lens and along the view
    apart: float  # how far outwards of the eyes the rims' middles lie


MAKES: Final[dict[GlassesStyle, _Make]] = {
    GlassesStyle.ROUND: _Make(width=0.0225, height=0.0215, square=2.0, wire=(0.0008, 0.0008), apart=0.0025),
    GlassesStyle.RECTANGULAR: _Make(width=0.0265, height=0.0170, square=4.0, wire=(0.0021, 0.0016), apart=0.0030),
}


def put_on_glasses(glasses: Glasses, skull: Skull) -> list[Piece]:
    """The frame and the lenses, in that order: they sit on the nose and go with the head."""
    make = MAKES[glasses.style]
    rims = [_rim(make, eye, side, skull) for eye, side in zip(_eyes(skull), (-1.0, 1.0), strict=True)]
    inner = [
        rim[rim[:, 0].argmin() if side > 0 else rim[:, 0].argmax()] for rim, side in zip(rims, (-1, 1), strict=True)
    ]
    inner = [point + np.array([0, 0.35 * make.height, 0], np.float32) for point in inner]
    wires = [_wire(np.concatenate([rim, rim[:1]]), *make.wire) for rim in rims]
    wires.append(_wire(_bridge(inner[0], inner[1], skull), *make.wire))
    for rim, side in zip(rims, (-1.0, 1.0), strict=True):
        wires.append(_wire(_temple(rim, side, make, skull), make.wire[0], 0.0010))
    return [
        _rigid(skull, Material.FRAME, *_joined(wires)),
        _rigid(skull, Material.LENS, *_joined([_lens(rim) for rim in rims])),
    ]


def _eyes(skull: Skull) -> tuple[Floats, Floats]:
    """The eyeballs' centres, the one at negative x first."""
    eye = np.unique(skull.rig.faces.numpy()[(skull.rig.tissue == Tissue.EYE).numpy()])
    side = skull.rig.template.numpy()[eye, 0] > 0
    return skull.vertices[eye[~side]].mean(0), skull.vertices[eye[side]].mean(0)


def _rim(make: _Make, eye: Floats, side: float, skull: Skull) -> Floats:
    """The outline of a lens (RING, 3), as near to the face as brow and cheek let it come."""
    angle = np.linspace(0, 2 * np.pi, RING, endpoint=False)
    cosine, sine = np.cos(angle), np.sin(angle)
    across = np.sign(cosine) * np.abs(cosine) ** (2 / make.square) * make.width
    up = np.sign(sine) * np.abs(sine) ** (2 / make.square) * make.height
    x = eye[0] + side * (make.apart + across)
    z = eye[2] + 0.018 - 1.6 * x**2 + 0.06 * up
    ring = np.stack([x, eye[1] - 0.003 + up, z], 1).astype(np.float32)
    clear = ring[across > -0.4 * make.width]  # the inner side rests on the nose
    for _ in range(12):
        if skull.distance(clear)[0].min() > make.wire[1] + 0.001:
            break
        ring[:, 2] += 0.001
        clear[:, 2] += 0.001
    return ring


def _bridge(one: Floats, other: Floats, skull: Skull) -> Floats:
    """From rim to rim over the nose, (P, 3)."""
    share = np.linspace(0, 1, 13, dtype=np.float32)[:, None]
    path = one + share * (other - one)
    path[:, 1] += 0.0025 * np.sin(np.pi * share[:, 0])
    return skull.keep_out(path.astype(np.float32), np.full(len(path), 0.0022, np.float32))


def _temple(rim: Floats, side: float, make: _Make, skull: Skull) -> Floats:
    """From the rim's outer end past the temple to the ear, and a little down behind it, (P, 3)."""
    hinge = rim[(side * rim[:, 0]).argmax()] + np.array([side * 0.001, 0.4 * make.height, 0], np.float32)
    centre, half = skull.ears[0 if side < 0 else 1]
    over = np.array([centre[0] - 0.2 * side * half[0], centre[1] + 0.55 * half[1], centre[2]], np.float32)
    behind = over + np.array([-0.003 * side, -0.014, -0.018], np.float32)
    ahead = np.linspace(0, 1, 18, dtype=np.float32)[:, None]
    path = np.concatenate([hinge + ahead * (over - hinge), over + ahead[1:8] * 2.4 * (behind - over)])
    return skull.keep_out(path.astype(np.float32), np.full(len(path), 0.0020, np.float32))


def _wire(path: Floats, across: float, deep: float) -> tuple[Floats, Ints]:
    """A rod along a path (P, 3): `across` in the picture, `deep` along the view, half extents in metres."""
    ahead = unit(np.gradient(path, axis=0).astype(np.float32))
    forward = np.broadcast_to(np.array([0, 0, 1], np.float32), path.shape)
    aside = np.cross(ahead, forward)
    weak = np.linalg.norm(aside, axis=1, keepdims=True) < 0.5
    aside = unit(np.where(weak, np.cross(ahead, np.array([1, 0, 0], np.float32)), aside).astype(np.float32))
    other = np.cross(aside, ahead)
    angle = 2 * np.pi * (np.arange(CORNERS) + 0.5) / CORNERS
    ring = across * np.cos(angle)[None, :, None] * aside[:, None] + deep * np.sin(angle)[None, :, None] * other[:, None]
    return (path[:, None] + ring).reshape(-1, 3).astype(np.float32), grid_faces(len(path), CORNERS, closed=True)


def _lens(rim: Floats) -> tuple[Floats, Ints]:
    """A shallow bowl inside a rim."""
    shares = np.array([0.02, 0.35, 0.7, 1.0], np.float32)
    centre = rim.mean(0) + np.array([0, 0, 0.0016], np.float32)
    rings = centre + shares[:, None, None] * (rim - centre)
    rings[..., 2] = centre[2] + (shares**2)[:, None] * (rim[:, 2] - centre[2])
    return rings.reshape(-1, 3).astype(np.float32), grid_faces(len(shares), RING, closed=True)


def _joined(meshes: list[tuple[Floats, Ints]]) -> tuple[Floats, Ints]:
    starts = np.cumsum([0] + [len(points) for points, _ in meshes])
    faces = [faces + start for (_, faces), start in zip(meshes, starts, strict=False)]
    return np.concatenate([points for points, _ in meshes]), np.concatenate(faces)


def _rigid(skull: Skull, material: Material, points: Floats, faces: Ints) -> Piece:
    """A piece that goes with the head, hung on its crown, which no expression moves."""
    crown, shares = skull.crown()
    normals = vertex_normals(points, faces)
    return Piece(
        material=material,
        points=points,
        normals=normals,
        tangents=np.zeros_like(points),
        coordinates=np.zeros_like(points),
        triangles=crown,
        barycentric=shares,
        weights=skull.with_head(len(points)),
        faces=faces,
    )
