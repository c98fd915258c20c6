"""Hats: beanies, caps and brimmed hats, built in polar coordinates about the middle of the head.

Azimuth is 0 in front and positive to the person's left, the polar angle is 0 at the crown. Both in radians.

Legend: N vertices of a piece, H rows and W columns of its grid.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.figure.piece import Material, Piece, grid_faces
from pegasus_ray.studio.figure.rigid import rigid_piece
from pegasus_ray.studio.figure.skull import AXIS_Z, Skull
from pegasus_ray.studio.noise import smoothstep
from pegasus_ray.studio.person import Hat, HatStyle

HEAD_MIDDLE: Final = np.array([0.0, 0.012, AXIS_Z], np.float32)  # metres, rest space
COLUMNS: Final = 128  # vertices once around the head
OUTSIDE_RADIUS_METRES: Final = 0.22  # from the middle: outside every head


class HatPart(IntEnum):
    """Parts of hats that are shaded differently: the third of a hat's `Piece.coordinates`."""

    BEANIE_CROWN = 0
    BEANIE_BAND = 1
    CAP_CROWN = 2
    CAP_VISOR = 3
    BRIMMED_CROWN = 4
    BRIMMED_BRIM = 5


def make_hat(hat: Hat, skull: Skull) -> list[Piece]:
    """A hat's pieces: crown and band, crown and visor, or crown and brim."""
    match hat.style:
        case HatStyle.BEANIE:
            return [
                _shell(skull, HatPart.BEANIE_CROWN, thickness=0.010, slouch=0.012),
                _shell(skull, HatPart.BEANIE_BAND, low=0.70, high=1.03, thickness=0.0145),
            ]
        case HatStyle.CAP:
            return [_shell(skull, HatPart.CAP_CROWN, thickness=0.011, slouch=0.004), _visor(skull)]
        case HatStyle.BRIMMED:
            return [_shell(skull, HatPart.BRIMMED_CROWN, thickness=0.009, slouch=0.014), _brim(skull)]


def _shell(
    skull: Skull, part: HatPart, *, thickness: float, low: float = 0.0, high: float = 1.0, slouch: float = 0.0
) -> Piece:
    """A shell over the skull; a beanie's band is rounded.

    Args:
        skull: whose head it covers.
        part: crown or band.
        thickness: metres.
        low: where it begins, as a share of the way from the top of the head to the hat's edge.
        high: where it ends.
        slouch: metres that it stands off further at the top.
    """
    rows = 40
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False, dtype=np.float32)[None]
    share = np.linspace(max(low, 1e-3), high, rows, dtype=np.float32)[:, None]
    polar = share * _edge_polar_angle(azimuth)
    directions = _direction(np.broadcast_to(azimuth, polar.shape), polar)
    radius = _head_radius(skull, directions.reshape(-1, 3)).reshape(rows, COLUMNS)
    radius = np.asarray(gaussian_filter(radius, (1.5, 3.0), mode=("nearest", "wrap")), np.float32)
    radius = np.asarray(
        radius * (1 - 0.5 * smoothstep(0.6, 0.0, share)) + 0.5 * smoothstep(0.6, 0.0, share) * radius.max()
    )
    within = (share - low) / (high - low)
    profile = (
        np.clip(1 - np.abs(2 * within - 1) ** 4, 0, 1) ** 0.5
        if part is HatPart.BEANIE_BAND
        else 1 - 0.6 * smoothstep(0.93, 1.0, within)
    )
    points = HEAD_MIDDLE + (radius + thickness * profile + slouch * (1 - share) + 0.001)[..., None] * directions
    flat = points.reshape(-1, 3).astype(np.float32)
    coordinates = [np.broadcast_to(azimuth, polar.shape).ravel(), np.broadcast_to(share, polar.shape).ravel()]
    return rigid_piece(
        skull,
        Material.HAT,
        flat,
        grid_faces(rows, COLUMNS, closed=True)[:, ::-1],
        np.stack([*coordinates, np.full(len(flat), part)], 1).astype(np.float32),
    )


def _visor(skull: Skull) -> Piece:
    """The stiff peak of a cap: an arc in front of the edge."""
    columns, rows = 48, 10
    azimuth = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[None] * np.deg2rad(58)
    azimuth = np.broadcast_to(azimuth, (rows, columns))
    start = _near_edge(skull, azimuth, 0.007)
    out = np.linspace(0, 1, rows)[:, None]
    reach = 0.068 * np.cos(np.linspace(-1, 1, columns) * np.pi / 2)[None] ** 0.6 * out
    top = start.copy()
    top[..., 2] += reach
    top[..., 1] -= 0.22 * reach + 1.8 * reach * (start[..., 0] ** 2) / 0.06
    drop = np.array([0, 0.0025, 0], np.float32)
    return _two_sheets(skull, HatPart.CAP_VISOR, top, drop, azimuth, out)


def _brim(skull: Skull) -> Piece:
    """The soft brim of a bucket hat, which slopes down all around."""
    rows = 9
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False, dtype=np.float32)[None]
    azimuth = np.broadcast_to(azimuth, (rows, COLUMNS))
    start = gaussian_filter(_near_edge(skull, azimuth, 0.008), (0, 2.0, 0), mode=("nearest", "wrap", "nearest"))
    out = np.linspace(0, 1, rows, dtype=np.float32)[:, None]
    reach = 0.052 * out * (1 + 0.05 * np.sin(3 * azimuth))
    top = start + reach[..., None] * np.stack([np.sin(azimuth), -0.62 + 0.12 * np.cos(azimuth), np.cos(azimuth)], -1)
    return _two_sheets(skull, HatPart.BRIMMED_BRIM, top, np.array([0, 0.0022, 0]), azimuth, out)


def _two_sheets(
    skull: Skull,
    part: HatPart,
    top: Floats,  # (H, W, 3) metres, its last row the outer edge
    drop: Floats,  # (3,) metres: how far the lower sheet lies below
    azimuth: Floats,  # (H, W) radians
    out: npt.NDArray[np.floating],  # (H, 1) 0–1, from the hat's edge outwards
) -> Piece:
    """A brim or a visor: an upper and a lower sheet, joined along the outer edge. A brim goes all around, a visor does not."""
    rows, columns, _ = top.shape
    all_around = part is HatPart.BRIMMED_BRIM
    flat = np.concatenate([top.reshape(-1, 3), (top - drop).reshape(-1, 3)]).astype(np.float32)
    cell, below = grid_faces(rows, columns, closed=all_around), rows * columns
    edge = (rows - 1) * columns + np.arange(columns)
    edge, after = (edge, np.roll(edge, -1)) if all_around else (edge[:-1], edge[1:])
    rim = np.concatenate([np.stack([edge, after, edge + below], 1), np.stack([after, after + below, edge + below], 1)])
    coordinates = [np.tile(azimuth.ravel(), 2), np.tile((out + 0 * azimuth).ravel(), 2), np.full(len(flat), part)]
    return rigid_piece(
        skull,
        Material.HAT,
        flat,
        np.concatenate([cell[:, ::-1], cell + below, rim]),
        np.stack(coordinates, 1).astype(np.float32),
    )


def _near_edge(skull: Skull, azimuth: Floats, clearance: float) -> Floats:
    """Places (H, W, 3) just above the hat's edge, `clearance` metres off the head, at azimuths (H, W)."""
    directions = _direction(azimuth, 0.97 * _edge_polar_angle(azimuth)).reshape(-1, 3)
    places = HEAD_MIDDLE + (_head_radius(skull, directions) + clearance)[:, None] * directions
    return places.reshape(*azimuth.shape, 3)


def _edge_polar_angle(azimuth: Floats) -> Floats:
    """Polar angle (N,) of the hat's edge: high on the forehead, over the tips of the ears, low behind."""
    return np.asarray(
        np.deg2rad(np.interp(np.abs(azimuth), np.deg2rad([0, 50, 90, 130, 180]), [64, 70, 82, 96, 100])), np.float32
    )


def _direction(azimuth: Floats, polar: Floats) -> Floats:
    """Unit vectors (..., 3) from the middle of the head."""
    flat = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    return flat.astype(np.float32)


def _head_radius(skull: Skull, directions: Floats) -> Floats:
    """Distance (N,) in metres from the middle of the head to its surface, by sphere tracing from outside."""
    radius = np.full(len(directions), OUTSIDE_RADIUS_METRES, np.float32)
    for _ in range(14):
        radius = radius - 0.8 * skull.distance(HEAD_MIDDLE + radius[:, None] * directions)[0]
    return radius
