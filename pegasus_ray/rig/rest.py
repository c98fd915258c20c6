"""Corrections of the baked head at rest: lips that touch, and lashes that are thin.

Both move vertices only, so that whatever is bound to the mesh stays bound.

Legend: V vertices, F faces, N lash vertices.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.rig.makehuman import Floats, Ints

COLUMNS: Final = 33  # of the mouth's width in which the gap is measured
OVERLAP: Final = 0.003  # decimetres that the lips press into each other
REACH: Final = 0.09  # decimetres from the line between the lips over which the correction fades
BEHIND: Final = 0.015  # decimetres; the upper lip is not met farther behind the top of the lower
DEPTH: Final = 0.25  # decimetres behind the lips' front where it ends
SAMPLES: Final = np.array([(a, b, 6 - a - b) for a in range(7) for b in range(7 - a)]) / 6  # on a face
UPPER_LASH: Final = 0.6  # of the sheets' length
LOWER_LASH: Final = 0.3
BESIDE: Final = 0.02  # decimetres along the lid within which a lash has its root
ROOT: Final = 0.004  # decimetres farther from the eye than the nearest, where a lash is no root any more


def close_lips(
    template: Floats,  # (V, 3) decimetres
    lips: Ints,  # (F, 3) faces of the lips
    soft: Ints,  # vertices of skin, lips and the inside of the mouth: teeth and tongue stay
    jaw_open: Floats,  # (V, 3) decimetres; tells the lower lip from the upper
) -> Floats:
    """How each vertex moves so that nothing shows between the lips at rest, (V, 3) decimetres.

    Seen from the front, the gap is what lies between the lowest of the upper lip and the highest of the lower, column by column.
    """
    points = np.einsum("sk,fkc->fsc", SAMPLES, template[lips]).reshape(-1, 3)
    drop = -np.einsum("sk,fk->fs", SAMPLES, jaw_open[lips, 1]).ravel()
    half = np.abs(points[:, 0]).max()
    centres = np.linspace(-half, half, COLUMNS)
    column = np.abs(points[:, 0, None] - centres).argmin(1)
    low, high, parted = np.full((3, COLUMNS), np.nan)
    for number in range(COLUMNS):
        here = column == number
        if not here.any():
            continue
        parted[number] = (drop[here].min() + drop[here].max()) / 2
        lower = np.flatnonzero(here & (drop > parted[number]))
        top = lower[points[lower, 1].argmax()]
        upper = here & (drop < parted[number]) & (points[:, 2] > points[top, 2] - BEHIND)
        if upper.any():
            high[number], low[number] = points[upper, 1].min(), points[top, 1]
    known = np.isfinite(low)
    gap, middle, parted = (
        np.interp(centres, centres[known], values[known])
        for values in (np.maximum(high - low, 0), (high + low) / 2, parted)
    )
    corner = np.clip((half - np.abs(centres)) / (0.08 * half), 0, 1)
    shift = np.maximum(gap, np.convolve(gap, [0.25, 0.5, 0.25], "same")) / 2 + OVERLAP * corner

    front = points[:, 2].max()
    x, y, z = template.T
    share = -jaw_open[:, 1] / np.interp(x, centres, parted)  # 1 between upper and lower lip
    near = np.exp(-np.square((y - np.interp(x, centres, middle)) / REACH)) * np.clip(4 * (1 - share), -1, 1)
    near *= np.clip(1 - (front - z) / DEPTH, 0, 1) ** 0.5 * (np.abs(x) < half)
    moved = np.zeros_like(template)
    moved[soft, 1] = (-near * np.interp(x, centres, shift))[soft]
    return moved


def trimming(
    points: Floats,  # (N, 3) decimetres, one lid's lashes
    eye: Floats,  # (3,) the eyeball's middle
    length: float,  # of the lashes that is kept
) -> Floats:
    """The matrix (N, N) that shortens lashes towards their roots, which lie nearest to the eye.

    It holds for what moves the lashes as well as for their places.
    """
    away = np.linalg.norm(points - eye, axis=1)
    beside = np.exp(-np.square((points[:, None, 0] - points[None, :, 0]) / BESIDE))
    lowest = np.where(beside > 0.1, away[None], np.inf).min(1, keepdims=True)
    share = beside * np.exp((lowest - away[None]) / ROOT)
    roots = share / share.sum(1, keepdims=True)
    shortened: Floats = roots + length * (np.eye(len(points)) - roots)
    return shortened
