"""What a ray sees: the surfaces that it meets one behind the other, and how much of it each of them takes.

Strands of hair and lashes thinner than a ray's footprint are not cut out but let their share of the ray through: their ends fade
instead of crumbling into dots. So do lenses.

Legend: R rays, N samples (a surface that takes a share of a ray), M hits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.studio.figure.piece import Ints
from pegasus_ray.studio.noise import Floats, ripple, smoothstep

Bools = npt.NDArray[np.bool_]

LAYERS: Final = 6  # surfaces that a ray may see
STEP: Final = np.float32(2e-5)  # metres, off a surface
SKIP: Final = np.float32(1e-6)  # metres, off a surface that is not seen: another may lie on it
FAINT: Final = 0.03  # a share of a ray that counts for nothing

Opacity = Callable[[Ints, Floats, Floats], Floats]
"""(triangle (M,), barycentric (M, 3), directions (M, 3)) → opacity (M,), 0–1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What rays see."""

    ray: Ints  # (N,) number of the ray
    triangle: Ints  # (N,) face
    barycentric: Floats  # (N, 3)
    distance: Floats  # (N,) metres
    share: Floats  # (N,) of the ray, 0–1; what is left over goes on to the background


@dataclass(frozen=True, slots=True, kw_only=True)
class Panes:
    """Glass before everything else, apart from the rest because it throws no shadow."""

    rays: MeshTracer
    faces: Ints  # their numbers among all faces
    opacity: float


def look(
    rays: MeshTracer,
    directions: Floats,  # (R, 3) from the origin, of unit length
    opacity: Opacity,
    panes: Panes | None = None,
) -> Seen:
    """Follows rays until next to nothing of them is left."""
    going, far = np.arange(len(directions)), np.zeros(len(directions), np.float32)
    through = np.ones(len(directions), np.float32)
    layers: list[tuple[Ints, Ints, Floats, Floats, Floats]] = []
    for layer in range(LAYERS):
        triangle, barycentric, distance = rays.first_along(far[:, None] * directions[going], directions[going])
        met = triangle >= 0
        going, far, through = going[met], far[met] + distance[met], through[met]
        triangle, barycentric = triangle[met], barycentric[met]
        taken = np.ones(len(going), np.float32)
        if layer < LAYERS - 1:
            taken = opacity(triangle, barycentric, directions[going])
            taken[taken < FAINT] = 0
            taken[through * (1 - taken) < FAINT] = 1
        kept = taken > 0
        layers.append((going[kept], triangle[kept], barycentric[kept], far[kept], (through * taken)[kept]))
        on = taken < 1
        going, far, through = going[on], far[on] + np.where(kept[on], STEP, SKIP), (through * (1 - taken))[on]
        if not len(going):
            break
    ray, triangle, barycentric, far, share = (np.concatenate(column) for column in zip(*layers, strict=True))
    seen = Seen(ray=ray, triangle=triangle, barycentric=barycentric, distance=far, share=share)
    return seen if panes is None else _through_glass(seen, directions, panes)


def _through_glass(seen: Seen, directions: Floats, panes: Panes) -> Seen:
    """The same with the panes that lie before everything else."""
    face, barycentric, distance = panes.rays.first_along(np.zeros_like(directions), directions)
    behind = np.full(len(directions), np.inf, np.float32)
    np.minimum.at(behind, seen.ray, seen.distance)
    met = np.flatnonzero((face >= 0) & (distance < behind))
    left = np.ones(len(directions), np.float32)
    left[met] -= panes.opacity
    return Seen(
        ray=np.concatenate([seen.ray, met]),
        triangle=np.concatenate([seen.triangle, panes.faces[face[met]]]),
        barycentric=np.concatenate([seen.barycentric, barycentric[met]]),
        distance=np.concatenate([seen.distance, distance[met]]),
        share=np.concatenate([seen.share * left[seen.ray], np.full(len(met), panes.opacity, np.float32)]),
    )


def strand_opacity(
    coordinates: Floats,  # (N, 3) of a ribbon of hair: across −1…1, along 0…1, its number
    footprint: Floats,  # (N,) of the ray, in half widths of the ribbon
) -> Floats:
    """How much ribbons of hair take of rays, (N,): ragged edges, and ends that part into strands."""
    across, along, lane = coordinates.T
    number = np.round(lane).astype(np.int64) * 3
    edge = 1 - 0.55 * ripple(along * 7, number + (across > 0)) - np.abs(across)
    comb = ripple(across * 2.6 + 5, number + 2)
    blur = np.clip(footprint, 0.15, 4)
    thinned = np.maximum(0.95 * smoothstep(0.70, 1.02, along), 0.75 * smoothstep(0.06, 0.0, along))
    inside = np.clip(0.5 + edge / blur, 0, 1) * np.clip(0.5 + (comb - thinned) / (2.0 * blur), 0, 1)
    return np.asarray(np.where(thinned > 0, inside, np.clip(0.5 + edge / blur, 0, 1)), dtype=np.float32)


def lash_opacity(
    coordinates: Floats,  # (N, 3) of the sheet that carries lashes: metres along the lid, 0 (root) to 1 (tip), upper lid
) -> Floats:
    """Single lashes of the upper lid, (N,): a dark line at the root, thin and fewer outwards."""
    across, along, _ = coordinates.T
    place = across / 0.0010 + 0.8 * along
    within = np.abs(place - np.round(place)) * 2
    length = 0.31 + 0.24 * ripple(np.floor(place + 0.5), np.zeros(len(place), np.int64))
    lash = (within < 0.75 - 0.8 * along / length) & (along < length)
    return np.asarray(lash | (along < 0.10), dtype=np.float32)
