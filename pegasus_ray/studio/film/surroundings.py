"""What is measured on a figure once, before the first frame: how much each place sees around it, and which part it is.

Legend: N vertices of the figure, V vertices of the rig.
"""

from __future__ import annotations

import numpy as np

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.rig.model import Tissue
from pegasus_ray.schemas.parts import Part
from pegasus_ray.studio.figure.face_paint import scalp_density
from pegasus_ray.studio.figure.figure import Figure
from pegasus_ray.studio.figure.piece import Material, vertex_normals
from pegasus_ray.studio.noise import Floats


def occlusion(figure: Figure) -> Floats:
    """How much of the surroundings each vertex of the neutral figure sees, (N,) 0–1, by fixed directions."""
    count = 48
    index = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * index / count), np.pi * (1 + 5**0.5) * index
    directions = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], 1).astype(
        np.float32
    )
    vertices = figure.neutral
    own = len(figure.rig.template)
    normals = np.concatenate(
        [vertex_normals(vertices[:own], figure.rig.faces.numpy())] + [p.normals for p in figure.pieces]
    )
    airy = np.isin(figure.material, (Material.LASHES, Material.LENS))
    rays = MeshTracer(vertices, figure.faces[~airy])
    lift = np.full(len(vertices), 0.0012, np.float32)
    lift[np.unique(figure.faces[np.isin(figure.material, (Material.HAIR, Material.BEARD))])] = 0.0045
    start = (vertices + lift[:, None] * normals).astype(np.float32)
    seen, total = np.zeros(len(vertices), np.float32), np.zeros(len(vertices), np.float32)
    for direction in directions:
        facing = normals @ direction
        chosen = np.flatnonzero(facing > 0.05)
        towards = np.broadcast_to(direction, (len(chosen), 3)).astype(np.float32)
        seen[chosen] += facing[chosen] * ~rays.occluded(start[chosen], towards, 0.08)
        total[chosen] += facing[chosen]
    share = seen / np.maximum(total, 1e-6)
    share[np.unique(figure.faces[np.isin(figure.material, (Material.HAIR, Material.BEARD))])] *= 0.82
    share[np.unique(figure.faces[np.isin(figure.material, (Material.HAIR, Material.BEARD))])] += 0.18
    scalp = 0.45 * scalp_density(figure.rig.template.numpy())
    share[:own] = np.maximum(share[:own], scalp)
    tissue = figure.rig.tissue.numpy()
    for kind, least in (
        (Tissue.LIPS, 0.5),
        (Tissue.EYE, 1.0),
        (Tissue.TEETH, 1.0),
        (Tissue.TONGUE, 0.8),
        (Tissue.MOUTH, 0.25),
    ):
        inside = np.unique(figure.rig.faces.numpy()[tissue == kind])
        share[inside] = np.maximum(share[inside], least)
    return np.asarray(share, dtype=np.float32)


def membership(figure: Figure) -> Floats:
    """Share (V, 3) of the faces around each vertex that are nose, ears, neck or bare chest: smooth edges between parts."""
    rig = figure.rig
    faces, parts = rig.faces.numpy(), rig.parts.numpy()
    skin = rig.tissue.numpy() == Tissue.SKIN
    around = np.bincount(faces[skin].ravel(), minlength=len(rig.template)).astype(np.float32)
    columns = []
    for kinds in ((Part.NOSE,), (Part.EARS,), (Part.NECK, Part.CLOTH)):
        chosen = faces[skin & np.isin(parts, kinds)]
        columns.append(np.bincount(chosen.ravel(), minlength=len(rig.template)) / np.maximum(around, 1))
    return np.stack(columns, 1).astype(np.float32)
