"""Values computed once for each vertex of a figure, before the first frame: ambient occlusion and membership in parts.

Legend: N vertices of the figure, V vertices of the rig, D directions.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.rig.model import Rig, Tissue
from pegasus_ray.schemas.parts import Part
from pegasus_ray.studio.arrays import Floats
from pegasus_ray.studio.figure.assemble import Figure
from pegasus_ray.studio.figure.hair_growth import scalp_density
from pegasus_ray.studio.figure.piece import Material, vertex_normals

OCCLUSION_DIRECTIONS: Final = 48  # rays from each vertex, over the whole sphere
OCCLUSION_REACH_METRES: Final = 0.08  # what lies further away does not occlude
SKIN_LIFT_METRES: Final = 0.0012  # rays start this far off the skin, so that they do not hit it
HAIR_LIFT_METRES: Final = 0.0045  # the same for strands, which lie on one another
MIN_HAIR_EXPOSURE: Final = 0.18  # 0–1, of strands: light also comes through the hair around them
MIN_TISSUE_EXPOSURE: Final = {
    Tissue.LIPS: 0.5,
    Tissue.EYE: 1.0,
    Tissue.TEETH: 1.0,
    Tissue.TONGUE: 0.8,
    Tissue.MOUTH: 0.25,
}
"""Least exposure of a tissue, 0–1. In the neutral face closed lips and lids would hide these tissues almost wholly."""


def ambient_occlusion(figure: Figure) -> Floats:
    """Cosine-weighted ambient occlusion of the neutral figure's vertices, (N,) 0–1: 1 where nothing occludes the vertex."""
    vertices = figure.neutral
    own = len(figure.rig.template)
    normals = np.concatenate(
        [vertex_normals(vertices[:own], figure.rig.faces.numpy())] + [piece.normals for piece in figure.pieces]
    )
    airy = np.isin(figure.material, (Material.LASHES, Material.LENS))
    strands = np.unique(figure.faces[np.isin(figure.material, (Material.HAIR, Material.BEARD))])
    rays = MeshTracer(vertices, figure.faces[~airy])
    lift = np.full(len(vertices), SKIN_LIFT_METRES, np.float32)
    lift[strands] = HAIR_LIFT_METRES
    start = (vertices + lift[:, None] * normals).astype(np.float32)
    seen, total = np.zeros(len(vertices), np.float32), np.zeros(len(vertices), np.float32)
    for direction in _even_directions(OCCLUSION_DIRECTIONS):
        facing = normals @ direction
        chosen = np.flatnonzero(facing > 0.05)
        towards = np.broadcast_to(direction, (len(chosen), 3)).astype(np.float32)
        seen[chosen] += facing[chosen] * ~rays.occluded(start[chosen], towards, OCCLUSION_REACH_METRES)
        total[chosen] += facing[chosen]
    share = seen / np.maximum(total, 1e-6)
    share[strands] *= 1 - MIN_HAIR_EXPOSURE
    share[strands] += MIN_HAIR_EXPOSURE
    share[:own] = np.maximum(share[:own], 0.45 * scalp_density(figure.rig.template.numpy()))
    tissue = figure.rig.tissue.numpy()
    for kind, least in MIN_TISSUE_EXPOSURE.items():
        inside = np.unique(figure.rig.faces.numpy()[tissue == kind])
        share[inside] = np.maximum(share[inside], least)
    return np.asarray(share, dtype=np.float32)


def part_membership(rig: Rig) -> Floats:
    """Share (V, 3) of the skin's faces around each vertex that are nose; ears; neck or chest.

    Interpolated over faces it gives smooth edges between the parts.
    """
    faces, parts = rig.faces.numpy(), rig.parts.numpy()
    skin = rig.tissue.numpy() == Tissue.SKIN
    around = np.bincount(faces[skin].ravel(), minlength=len(rig.template)).astype(np.float32)
    columns = []
    for kinds in ((Part.NOSE,), (Part.EARS,), (Part.NECK, Part.CLOTH)):
        chosen = faces[skin & np.isin(parts, kinds)]
        columns.append(np.bincount(chosen.ravel(), minlength=len(rig.template)) / np.maximum(around, 1))
    return np.stack(columns, 1).astype(np.float32)


def _even_directions(count: int) -> Floats:
    """Directions (D, 3) spread evenly over the sphere: a Fibonacci spiral."""
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    directions = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], 1)
    return directions.astype(np.float32)
