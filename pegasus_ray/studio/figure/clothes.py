"""Clothes: the neckline, the cloth below it, and the collar along it.

The cloth is the rig's torso, moved outwards and coloured. The collar is a mesh that hides where the cloth begins.

Legend: V vertices of the rig, L points along the neckline, N places.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pegasus_ray.rig.model import Rig, Tissue
from pegasus_ray.studio.arrays import Floats, Ints
from pegasus_ray.studio.figure.piece import Material, Piece, grid_faces, unit, vertex_normals
from pegasus_ray.studio.figure.skull import AXIS_Z, Skull
from pegasus_ray.studio.noise import smoothstep
from pegasus_ray.studio.person import ClothStyle

CLOTH_THICKNESS_METRES: Final = 0.006  # from the skin to the outside of the cloth
COLLAR_POINTS: Final = 160  # along the neckline
COLLAR_ROWS: Final = 10  # vertices around the cross-section of a collar
NECKLINE_HEIGHTS: Final = {  # metres: y of the neckline on the template, at the depth of the head's axis
    ClothStyle.CREW: -0.152,
    ClothStyle.V_NECK: -0.152,
    ClothStyle.TURTLENECK: -0.118,
}
COLLAR_SECTIONS: Final[dict[ClothStyle, tuple[float, float]]] = {  # metres: half height and half thickness
    ClothStyle.CREW: (0.0085, 0.0040),
    ClothStyle.V_NECK: (0.0075, 0.0035),
    ClothStyle.TURTLENECK: (0.0170, 0.0065),
}


def cloth_depth(
    style: ClothStyle,
    places: Floats,  # (N, 3) metres on the template
) -> Floats:
    """How far below the neckline places lie, (N,) metres; negative is bare skin."""
    x, y, z = places[:, 0], places[:, 1], places[:, 2]
    line = NECKLINE_HEIGHTS[style] - 0.42 * (z - AXIS_Z)
    if style is ClothStyle.V_NECK:
        line = line - 1.15 * np.clip(0.055 - np.abs(x), 0, None) * smoothstep(-0.09, -0.04, z)
    return np.asarray(line - y, dtype=np.float32)


def cloth_offsets(
    style: ClothStyle,
    rig: Rig,
    vertices: Floats,  # (V, 3) rest space
) -> Floats:
    """Offsets (V, 3) in metres that turn the torso's skin into cloth."""
    depth = cloth_depth(style, rig.template.numpy())
    on_body = np.zeros(len(vertices), bool)
    on_body[np.unique(rig.faces.numpy()[(rig.tissue == Tissue.SKIN).numpy()])] = True
    raised = CLOTH_THICKNESS_METRES * smoothstep(0.0, 0.014, depth) * on_body * smoothstep(-0.08, -0.10, vertices[:, 1])
    return np.asarray(raised[:, None] * vertex_normals(vertices, rig.faces.numpy()), dtype=np.float32)


def make_collar(style: ClothStyle, skull: Skull) -> Piece:
    """A ribbed band along the neckline."""
    rig = skull.rig
    triangles, barycentric = _neckline(style, rig)
    corners = rig.faces.numpy()[triangles]
    loop = np.einsum("lc,lcd->ld", barycentric, skull.vertices[corners])
    outwards = unit(np.einsum("lc,lcd->ld", barycentric, skull.normals[corners]).astype(np.float32))
    weights = np.einsum("lc,lcj->lj", barycentric, rig.skin_weights.numpy()[corners])
    loop, outwards, weights = (
        gaussian_filter1d(values, 2.0, axis=0, mode="wrap") for values in (loop, outwards, weights)
    )
    outwards = unit(outwards)
    ahead = unit(np.roll(loop, -1, 0) - np.roll(loop, 1, 0))
    up = unit(np.cross(ahead, outwards))
    up *= np.sign(up[:, 1:2].mean())
    height, thick = COLLAR_SECTIONS[style]
    angle = np.linspace(0, 2 * np.pi, COLLAR_ROWS, endpoint=False)
    lift = 0.35 * height if style is not ClothStyle.TURTLENECK else 0.0
    centre = loop + outwards * (CLOTH_THICKNESS_METRES * 0.45) + up * lift
    ring = centre[:, None] + np.cos(angle)[None, :, None] * height * up[:, None]
    ring = ring + np.sin(angle)[None, :, None] * thick * outwards[:, None]
    points = ring.transpose(1, 0, 2).reshape(-1, 3).astype(np.float32)
    faces = grid_faces(COLLAR_ROWS + 1, COLLAR_POINTS, closed=True)[:, ::-1] % len(points)
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(loop, axis=0), axis=1))])
    return Piece(
        material=Material.CLOTH,
        points=points,
        normals=vertex_normals(points, faces),
        tangents=np.zeros_like(points),
        coordinates=np.stack(
            [np.tile(arc, COLLAR_ROWS), np.repeat(angle, COLLAR_POINTS) / (2 * np.pi), np.ones(len(points))], 1
        ).astype(np.float32),
        triangles=np.tile(triangles, COLLAR_ROWS),
        barycentric=np.tile(barycentric, (COLLAR_ROWS, 1)),
        weights=np.tile(weights, (COLLAR_ROWS, 1)).astype(np.float32),
        faces=faces,
    )


def _neckline(style: ClothStyle, rig: Rig) -> tuple[Ints, Floats]:
    """Places around the neck where the cloth begins, in order: faces (L,) of the rig and barycentric (L, 3).

    The neckline cuts some of the template's faces; for each of L evenly spaced azimuths the midpoint of the nearest cut is taken.
    """
    faces, template = rig.faces.numpy(), rig.template.numpy()
    depth = cloth_depth(style, template)
    skin = np.flatnonzero((rig.tissue == Tissue.SKIN).numpy())
    crossing = skin[(depth[faces[skin]] > 0).any(1) & (depth[faces[skin]] <= 0).any(1)]
    crossing = crossing[(np.abs(template[faces[crossing]][..., 0]) < 0.13).all(1)]
    found_triangles, found_shares, places = [], [], []
    for triangle in crossing:
        values = depth[faces[triangle]]
        shares = np.zeros(3, np.float32)
        ends = 0
        for i, j in ((0, 1), (1, 2), (2, 0)):
            if (values[i] > 0) != (values[j] > 0):
                share = values[i] / (values[i] - values[j])
                shares[i] += (1 - share) / 2
                shares[j] += share / 2
                ends += 1
        if ends == 2:
            found_triangles.append(triangle)
            found_shares.append(shares)
            places.append(shares @ template[faces[triangle]])
    azimuth = np.arctan2(np.array(places)[:, 0], np.array(places)[:, 2] - AXIS_Z)
    wanted = np.linspace(-np.pi, np.pi, COLLAR_POINTS, endpoint=False)
    apart = np.abs(np.angle(np.exp(1j * (azimuth[None] - wanted[:, None]))))
    nearest = apart.argmin(1)
    return np.array(found_triangles)[nearest], np.array(found_shares)[nearest]
