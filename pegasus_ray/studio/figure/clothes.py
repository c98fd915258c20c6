"""What is worn: a neckline with its collar, beanies, caps and brimmed hats.

The cloth itself is the rig's torso, moved outwards and coloured; the collar hides where it begins.

Legend: V vertices of the rig, L points of a loop, N vertices of a piece.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from pegasus_ray.rig.model import Rig, Tissue
from pegasus_ray.studio.figure.piece import Ints, Material, Piece, grid_faces, unit, vertex_normals
from pegasus_ray.studio.figure.skull import AXIS_Z, Skull
from pegasus_ray.studio.noise import Floats, smoothstep
from pegasus_ray.studio.people import ClothStyle, Hat, HatStyle

THICKNESS: Final = 0.006  # metres, of the cloth
LOOP: Final = 160
COLLARS: Final[dict[ClothStyle, tuple[float, float]]] = {  # metres: half height and half thickness
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
    level = {ClothStyle.CREW: -0.152, ClothStyle.V_NECK: -0.152, ClothStyle.TURTLENECK: -0.118}[style]
    line = level - 0.42 * (z - AXIS_Z)
    if style is ClothStyle.V_NECK:
        line = line - 1.15 * np.clip(0.055 - np.abs(x), 0, None) * smoothstep(-0.09, -0.04, z)
    return np.asarray(line - y, dtype=np.float32)


def dress(
    style: ClothStyle,
    rig: Rig,
    vertices: Floats,  # (V, 3) rest space
) -> Floats:
    """Offsets (V, 3) in metres that turn the torso's skin into cloth."""
    depth = cloth_depth(style, rig.template.numpy())
    on_body = np.zeros(len(vertices), bool)
    on_body[np.unique(rig.faces.numpy()[(rig.tissue == Tissue.SKIN).numpy()])] = True
    raised = THICKNESS * smoothstep(0.0, 0.014, depth) * on_body * smoothstep(-0.08, -0.10, vertices[:, 1])
    return np.asarray(raised[:, None] * vertex_normals(vertices, rig.faces.numpy()), dtype=np.float32)


def collar(style: ClothStyle, skull: Skull) -> Piece:
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
    height, thick = COLLARS[style]
    rows = 10
    angle = np.linspace(0, 2 * np.pi, rows, endpoint=False)
    lift = 0.35 * height if style is not ClothStyle.TURTLENECK else 0.0
    centre = loop + outwards * (THICKNESS * 0.45) + up * lift
    ring = centre[:, None] + np.cos(angle)[None, :, None] * height * up[:, None]
    ring = ring + np.sin(angle)[None, :, None] * thick * outwards[:, None]
    points = ring.transpose(1, 0, 2).reshape(-1, 3).astype(np.float32)
    faces = grid_faces(rows + 1, LOOP, closed=True)[:, ::-1] % len(points)
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(loop, axis=0), axis=1))])
    return Piece(
        material=Material.CLOTH,
        points=points,
        normals=vertex_normals(points, faces),
        tangents=np.tile(up, (rows, 1)).astype(np.float32),
        coordinates=np.stack(
            [np.tile(arc, rows), np.repeat(angle, LOOP) / (2 * np.pi), np.ones(len(points))], 1
        ).astype(np.float32),
        triangles=np.tile(triangles, rows),
        barycentric=np.tile(barycentric, (rows, 1)),
        weights=np.tile(weights, (rows, 1)).astype(np.float32),
        faces=faces,
    )


def _neckline(style: ClothStyle, rig: Rig) -> tuple[Ints, Floats]:
    """LOOP places around the neck where the cloth begins: faces and barycentric, in order."""
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
    azimuth = np.arctan2(np.array(places)[:, 0], np.array(places)[:, 2] - AXIS_Z - 0.0)
    wanted = np.linspace(-np.pi, np.pi, LOOP, endpoint=False)
    apart = np.abs(np.angle(np.exp(1j * (azimuth[None] - wanted[:, None]))))
    nearest = apart.argmin(1)
    return np.array(found_triangles)[nearest], np.array(found_shares)[nearest]


def put_on(hat: Hat, skull: Skull) -> list[Piece]:
    """A hat's pieces: crown and band, crown and visor, or crown and brim."""
    match hat.style:
        case HatStyle.BEANIE:
            return [
                _shell(skull, low=0.0, high=1.0, thickness=0.010, rounded=False, slouch=0.012, kind=0),
                _shell(skull, low=0.70, high=1.03, thickness=0.0145, rounded=True, slouch=0.0, kind=1),
            ]
        case HatStyle.CAP:
            return [
                _shell(skull, low=0.0, high=1.0, thickness=0.011, rounded=False, slouch=0.004, kind=2),
                _visor(skull),
            ]
        case HatStyle.BRIMMED:
            return [
                _shell(skull, low=0.0, high=1.0, thickness=0.009, rounded=False, slouch=0.014, kind=4),
                _brim_all_around(skull),
            ]


CENTRE: Final = np.array([0.0, 0.012, AXIS_Z], np.float32)
COLUMNS: Final = 128


def _brim(azimuth: Floats) -> Floats:
    """Angle (N,) from the crown down to the brim: high on the forehead, over the ears' tips, low behind."""
    return np.asarray(
        np.deg2rad(np.interp(np.abs(azimuth), np.deg2rad([0, 50, 90, 130, 180]), [64, 70, 82, 96, 100])), np.float32
    )


def _direction(azimuth: Floats, polar: Floats) -> Floats:
    flat = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    return flat.astype(np.float32)


def _radius(skull: Skull, directions: Floats) -> Floats:
    """Distance (N,) from the head's centre to its surface, by walking in from outside."""
    radius = np.full(len(directions), 0.22, np.float32)
    for _ in range(14):
        radius = radius - 0.8 * skull.distance(CENTRE + radius[:, None] * directions)[0]
    return radius


def _shell(
    skull: Skull, *, low: float, high: float, thickness: float, rounded: bool, slouch: float, kind: int
) -> Piece:
    """A cap over the skull between two shares of the way from the crown to the brim."""
    rows = 40
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False, dtype=np.float32)[None]
    share = np.linspace(max(low, 1e-3), high, rows, dtype=np.float32)[:, None]
    polar = share * _brim(azimuth)
    directions = _direction(np.broadcast_to(azimuth, polar.shape), polar)
    radius = _radius(skull, directions.reshape(-1, 3)).reshape(rows, COLUMNS)
    radius = np.asarray(gaussian_filter(radius, (1.5, 3.0), mode=("nearest", "wrap")), np.float32)
    radius = np.asarray(
        radius * (1 - 0.5 * smoothstep(0.6, 0.0, share)) + 0.5 * smoothstep(0.6, 0.0, share) * radius.max()
    )
    within = (share - low) / (high - low)
    profile = (
        np.clip(1 - np.abs(2 * within - 1) ** 4, 0, 1) ** 0.5 if rounded else 1 - 0.6 * smoothstep(0.93, 1.0, within)
    )
    points = CENTRE + (radius + thickness * profile + slouch * (1 - share) + 0.001)[..., None] * directions
    flat = points.reshape(-1, 3).astype(np.float32)
    faces = grid_faces(rows, COLUMNS, closed=True)[:, ::-1]
    coordinates = np.stack(
        [
            np.broadcast_to(azimuth, polar.shape).ravel(),
            np.broadcast_to(share, polar.shape).ravel(),
            np.full(len(flat), kind),
        ],
        1,
    )
    return _rigid_piece(skull, flat, faces, coordinates.astype(np.float32))


def _visor(skull: Skull) -> Piece:
    """The stiff peak of a cap: an arc in front of the brim, two sheets thick."""
    columns, rows = 48, 10
    azimuth = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[None] * np.deg2rad(58)
    azimuth = np.broadcast_to(azimuth, (rows, columns))
    polar = 0.97 * _brim(azimuth)
    directions = _direction(azimuth, polar).reshape(-1, 3)
    start = (CENTRE + (_radius(skull, directions) + 0.007)[:, None] * directions).reshape(rows, columns, 3)
    out = np.linspace(0, 1, rows)[:, None]
    reach = 0.068 * np.cos(np.linspace(-1, 1, columns) * np.pi / 2)[None] ** 0.6 * out
    top = start.copy()
    top[..., 2] += reach
    top[..., 1] -= 0.22 * reach + 1.8 * reach * (start[..., 0] ** 2) / 0.06
    bottom = top - np.array([0, 0.0025, 0], np.float32)
    flat = np.concatenate([top.reshape(-1, 3), bottom.reshape(-1, 3)]).astype(np.float32)
    cell = grid_faces(rows, columns)
    rim = (rows - 1) * columns + np.arange(columns - 1)
    below = rim + rows * columns
    edge = np.concatenate([np.stack([rim, rim + 1, below], 1), np.stack([rim + 1, below + 1, below], 1)])
    faces = np.concatenate([cell[:, ::-1], cell + rows * columns, edge])
    coordinates = np.stack(
        [np.tile(azimuth.ravel(), 2), np.tile((out + 0 * azimuth).ravel(), 2), np.full(len(flat), 3)], 1
    )
    return _rigid_piece(skull, flat, faces, coordinates.astype(np.float32))


def _brim_all_around(skull: Skull) -> Piece:
    """The soft brim of a bucket hat, sloping down all around, two sheets thick."""
    rows = 9
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False, dtype=np.float32)[None]
    azimuth = np.broadcast_to(azimuth, (rows, COLUMNS))
    directions = _direction(azimuth, 0.97 * _brim(azimuth)).reshape(-1, 3)
    start = (CENTRE + (_radius(skull, directions) + 0.008)[:, None] * directions).reshape(rows, COLUMNS, 3)
    start = gaussian_filter(start, (0, 2.0, 0), mode=("nearest", "wrap", "nearest"))
    out = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    reach = 0.052 * out * (1 + 0.05 * np.sin(3 * azimuth))
    top = start + reach[..., None] * np.stack([np.sin(azimuth), -0.62 + 0.12 * np.cos(azimuth), np.cos(azimuth)], -1)
    flat = np.concatenate([top.reshape(-1, 3), (top - [0, 0.0022, 0]).reshape(-1, 3)]).astype(np.float32)
    cell = grid_faces(rows, COLUMNS, closed=True)
    edge = (rows - 1) * COLUMNS + np.arange(COLUMNS)
    after, below = np.roll(edge, -1), rows * COLUMNS
    rim = np.concatenate([np.stack([edge, after, edge + below], 1), np.stack([after, after + below, edge + below], 1)])
    coordinates = np.stack(
        [np.tile(azimuth.ravel(), 2), np.tile((out + 0 * azimuth).ravel(), 2), np.full(len(flat), 5)], 1
    )
    faces = np.concatenate([cell[:, ::-1], cell + below, rim])
    return _rigid_piece(skull, flat, faces, coordinates.astype(np.float32))


def _rigid_piece(skull: Skull, points: Floats, faces: Ints, coordinates: Floats) -> Piece:
    """A piece that goes with the head whatever the face does: it hangs on the crown."""
    crown, shares = skull.crown()
    normals = vertex_normals(points, faces)
    return Piece(
        material=Material.HAT,
        points=points,
        normals=normals,
        tangents=unit(np.cross(normals, np.array([0, 1.0, 0], np.float32))),
        coordinates=coordinates,
        triangles=crown,
        barycentric=shares,
        weights=skull.with_head(len(points)),
        faces=faces,
    )
