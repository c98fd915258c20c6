"""Traces rays through partly transparent surfaces: which surfaces a ray meets, and the weight with which each is blended.

Strands of hair and lashes thinner than a ray's footprint are partly transparent, so that their ends fade out instead of
breaking up into dots. Lenses are nearly transparent.

Legend: R rays, N samples (surfaces that rays meet), M hits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.studio.arrays import Floats, Ints
from pegasus_ray.studio.noise import smoothstep, value_noise

MAX_LAYERS: Final = 6  # surfaces blended in a ray, at most; the last one is taken as opaque
STEP_METRES: Final = np.float32(2e-5)  # behind a surface that was blended, from where the ray goes on
SKIP_METRES: Final = np.float32(1e-6)  # the same behind a surface of no opacity: another may lie right behind it
MIN_SHARE: Final = 0.03  # an opacity below it counts as 0; where less of a ray would be left, the surface is opaque

Opacity = Callable[[Ints, Floats, Floats], Floats]
"""A function of (triangle (M,), barycentric (M, 3), directions (M, 3)) that gives the opacity (M,), 0–1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySamples:
    """The surfaces that rays see."""

    ray: Ints  # (N,) number of the ray
    triangle: Ints  # (N,) face of the figure
    barycentric: Floats  # (N, 3)
    distance: Floats  # (N,) metres
    share: Floats  # (N,) blending weight, 0–1; the weights of a ray add up to 1 or less, the background gets the rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenses:
    """The lenses of glasses. They are kept apart from the other faces because they throw no shadow."""

    rays: MeshTracer
    faces: Ints  # their numbers among all faces of the figure
    opacity: float


def trace(
    rays: MeshTracer,
    directions: Floats,  # (R, 3) from the origin, of unit length
    opacity: Opacity,
    lenses: Lenses | None = None,
) -> RaySamples:
    """Follow rays from surface to surface until hardly any transmittance is left."""
    active, far = np.arange(len(directions)), np.zeros(len(directions), np.float32)
    through = np.ones(len(directions), np.float32)
    layers: list[tuple[Ints, Ints, Floats, Floats, Floats]] = []
    for layer in range(MAX_LAYERS):
        triangle, barycentric, distance = rays.first_along(far[:, None] * directions[active], directions[active])
        met = triangle >= 0
        active, far, through = active[met], far[met] + distance[met], through[met]
        triangle, barycentric = triangle[met], barycentric[met]
        taken = np.ones(len(active), np.float32)
        if layer < MAX_LAYERS - 1:
            taken = opacity(triangle, barycentric, directions[active])
            taken[taken < MIN_SHARE] = 0
            taken[through * (1 - taken) < MIN_SHARE] = 1
        kept = taken > 0
        layers.append((active[kept], triangle[kept], barycentric[kept], far[kept], (through * taken)[kept]))
        passing = taken < 1
        active, far, through = (
            active[passing],
            far[passing] + np.where(kept[passing], STEP_METRES, SKIP_METRES),
            (through * (1 - taken))[passing],
        )
        if not len(active):
            break
    ray, triangle, barycentric, far, share = (np.concatenate(column) for column in zip(*layers, strict=True))
    samples = RaySamples(ray=ray, triangle=triangle, barycentric=barycentric, distance=far, share=share)
    return samples if lenses is None else _add_lenses(samples, directions, lenses)


def _add_lenses(samples: RaySamples, directions: Floats, lenses: Lenses) -> RaySamples:
    """The samples, and lenses blended over them where the lens is the nearest surface."""
    face, barycentric, distance = lenses.rays.first_along(np.zeros_like(directions), directions)
    behind = np.full(len(directions), np.inf, np.float32)
    np.minimum.at(behind, samples.ray, samples.distance)
    met = np.flatnonzero((face >= 0) & (distance < behind))
    left = np.ones(len(directions), np.float32)
    left[met] -= lenses.opacity
    return RaySamples(
        ray=np.concatenate([samples.ray, met]),
        triangle=np.concatenate([samples.triangle, lenses.faces[face[met]]]),
        barycentric=np.concatenate([samples.barycentric, barycentric[met]]),
        distance=np.concatenate([samples.distance, distance[met]]),
        share=np.concatenate([samples.share * left[samples.ray], np.full(len(met), lenses.opacity, np.float32)]),
    )


def strand_opacity(
    coordinates: Floats,  # (N, 3) −1…1 across the ribbon, 0…1 along it, number of the ribbon
    footprint: Floats,  # (N,) of the ray, in half widths of the ribbon
) -> Floats:
    """Opacity of ribbons of hair, (N,): their edges are ragged, and their ends part into strands."""
    across, along, ribbon = coordinates.T
    number = np.round(ribbon).astype(np.int64) * 3
    edge = 1 - 0.55 * value_noise(along * 7, number + (across > 0)) - np.abs(across)
    comb = value_noise(across * 2.6 + 5, number + 2)
    blur = np.clip(footprint, 0.15, 4)
    thinned = np.maximum(0.95 * smoothstep(0.70, 1.02, along), 0.75 * smoothstep(0.06, 0.0, along))
    inside = np.clip(0.5 + edge / blur, 0, 1) * np.clip(0.5 + (comb - thinned) / (2.0 * blur), 0, 1)
    return np.asarray(np.where(thinned > 0, inside, np.clip(0.5 + edge / blur, 0, 1)), dtype=np.float32)


def lash_opacity(
    coordinates: Floats,  # (N, 3) metres along the lid, 0 (root) to 1 (tip), whether on the upper lid
) -> Floats:
    """Opacity of the sheets that carry lashes, (N,): a solid line at the root, then single lashes that get thinner and fewer."""
    across, along, _ = coordinates.T
    place = across / 0.0010 + 0.8 * along
    within = np.abs(place - np.round(place)) * 2
    length = 0.31 + 0.24 * value_noise(np.floor(place + 0.5), np.zeros(len(place), np.int64))
    lash = (within < 0.75 - 0.8 * along / length) & (along < length)
    return np.asarray(lash | (along < 0.10), dtype=np.float32)
