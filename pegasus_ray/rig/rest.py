"""Corrections of the baked head at rest: lips that touch, and shorter lashes.

Both move vertices and leave the topology alone, so that places on the mesh, such as landmarks, stay valid.

Legend: V vertices, F faces, N lash vertices.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.rig.makehuman import Floats, Ints

GAP_COLUMNS: Final = 33
"""Columns of the mouth's width in which the gap between the lips is measured."""
OVERLAP_DECIMETRES: Final = 0.003
"""How far the closed lips press into each other."""
FADE_DECIMETRES: Final = 0.09
"""Distance from the line between the lips over which the correction fades."""
MAX_BEHIND_DECIMETRES: Final = 0.015
"""The gap is measured to points of the upper lip that lie no farther than this behind the top of the lower lip."""
DEPTH_DECIMETRES: Final = 0.25
"""Distance behind the lips' front at which the correction ends."""
FACE_SAMPLES: Final = np.array([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]) / 6
"""Barycentric coordinates of evenly spaced points on a triangle."""

UPPER_LASH_SHARE: Final = 0.6
"""Share of the upper lashes' length that is kept."""
LOWER_LASH_SHARE: Final = 0.3
"""Share of the lower lashes' length that is kept."""
LASH_WIDTH_DECIMETRES: Final = 0.02
"""Distance along the lid within which a lash vertex has its root."""
ROOT_DEPTH_DECIMETRES: Final = 0.004
"""A vertex that much farther from the eye than the nearest one beside it weighs 1/e as a root."""


def close_lips(
    template: Floats,  # (V, 3) decimetres
    lips: Ints,  # (F, 3) faces of the lips
    soft: Ints,  # vertices that may move: skin, lips and the inside of the mouth, but not teeth and tongue
    jaw_open: Floats,  # (V, 3) decimetres; the expression tells the lower lip from the upper
) -> Floats:
    """How each vertex moves so that nothing shows between the lips at rest, (V, 3) decimetres.

    Seen from the front, the gap in each column lies between the lowest point of the upper lip and the highest of the lower.
    """
    points = np.einsum("sk,fkc->fsc", FACE_SAMPLES, template[lips]).reshape(-1, 3)
    drop = -np.einsum("sk,fk->fs", FACE_SAMPLES, jaw_open[lips, 1]).ravel()
    half = np.abs(points[:, 0]).max()
    centres = np.linspace(-half, half, GAP_COLUMNS)
    column = np.abs(points[:, 0, None] - centres).argmin(1)
    low, high, parted = np.full((3, GAP_COLUMNS), np.nan)
    for number in range(GAP_COLUMNS):
        here = column == number
        if not here.any():
            continue
        parted[number] = (drop[here].min() + drop[here].max()) / 2
        lower = np.flatnonzero(here & (drop > parted[number]))
        top = lower[points[lower, 1].argmax()]
        upper = here & (drop < parted[number]) & (points[:, 2] > points[top, 2] - MAX_BEHIND_DECIMETRES)
        if upper.any():
            high[number], low[number] = points[upper, 1].min(), points[top, 1]
    known = np.isfinite(low)
    gap, middle, parted = (
        np.interp(centres, centres[known], values[known])
        for values in (np.maximum(high - low, 0), (high + low) / 2, parted)
    )
    corner = np.clip((half - np.abs(centres)) / (0.08 * half), 0, 1)
    shift = np.maximum(gap, np.convolve(gap, [0.25, 0.5, 0.25], "same")) / 2 + OVERLAP_DECIMETRES * corner

    front = points[:, 2].max()
    x, y, z = template.T
    share = -jaw_open[:, 1] / np.interp(x, centres, parted)  # below 1 on the upper lip, above 1 on the lower
    near = np.exp(-np.square((y - np.interp(x, centres, middle)) / FADE_DECIMETRES)) * np.clip(4 * (1 - share), -1, 1)
    near *= np.clip(1 - (front - z) / DEPTH_DECIMETRES, 0, 1) ** 0.5 * (np.abs(x) < half)
    moved = np.zeros_like(template)
    moved[soft, 1] = (-near * np.interp(x, centres, shift))[soft]
    return moved


def shortening_matrix(
    points: Floats,  # (N, 3) decimetres, one lid's lashes
    eye: Floats,  # (3,) the eyeball's middle
    kept: float,  # share of the lashes' length
) -> Floats:
    """The matrix (N, N) that shortens lashes towards their roots, which lie nearest to the eye.

    It applies to displacements of the lashes (of an axis or an expression) as well as to their places.
    """
    away = np.linalg.norm(points - eye, axis=1)
    beside = np.exp(-np.square((points[:, None, 0] - points[None, :, 0]) / LASH_WIDTH_DECIMETRES))
    lowest = np.where(beside > 0.1, away[None], np.inf).min(1, keepdims=True)
    share = beside * np.exp((lowest - away[None]) / ROOT_DEPTH_DECIMETRES)
    roots = share / share.sum(1, keepdims=True)
    matrix: Floats = roots + kept * (np.eye(len(points)) - roots)
    return matrix
