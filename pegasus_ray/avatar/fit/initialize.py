"""The points that a fit starts from: on the rig's surface, and in shells over it where hair and cloth may be.

The fitting loop then carves away what lies outside the mattes and takes first colours from the frames.

Legend: F triangles, K shape axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar, vertex_normals
from pegasus_ray.avatar.points.motion import MotionCode
from pegasus_ray.avatar.points.regions import regions
from pegasus_ray.avatar.points.shading import even_light
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

SURFACE_RADIUS_METRES = 0.0036
"""Radius of a point on the surface when there are `SURFACE_RADIUS_POINTS` of them."""

SURFACE_RADIUS_POINTS = 9000
"""Where there are fewer points on the surface, radii are larger, so that the points still cover it."""

SHELL_RADIUS_FACTOR = 1.5
"""Radius of a point in a shell, relative to one on the surface: shells are less dense."""

FEATURE_RADIUS_FACTOR = 0.6
"""Radius of a point on eyes, brows and mouth, relative to others on the surface: these parts have finer detail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PointBudget:
    """How many points a fit starts from in each region, and how thick the shells are."""

    surface: int = 9000
    hair: int = 5000  # a third of them around the neck
    cloth: int = 3500
    backing: int = 5000  # under the skin once the fit is done; only those in poorly seen places are kept
    hair_depth: float = 0.055  # metres over the scalp
    fall_depth: float = 0.06  # metres around the neck, for hair that hangs down
    cloth_depth: float = 0.035  # metres over the torso


def scatter_points(
    rig: Rig, shape: Tensor, motion: MotionCode, budget: PointBudget, generator: torch.Generator
) -> Avatar:
    """An avatar of grey points everywhere where the person may be.

    Args:
        rig: the rig to bind to.
        shape: (K,) the person's shape.
        motion: the motion code of the points' bases.
        budget: number of points per region.
        generator: the source of random numbers; the same seed gives the same points.
    """
    vertices = rig.shaped(shape)
    where = regions(rig, vertices)
    fall = budget.hair // 3
    chosen = [
        _sample(where.surface, budget.surface, 0.0, generator),
        _sample(where.scalp, budget.hair - fall, budget.hair_depth, generator),
        _sample(where.fall, fall, budget.fall_depth, generator),
        _sample(where.cloth, budget.cloth, budget.cloth_depth, generator),
    ]
    triangles = torch.cat([c[0] for c in chosen])
    barycentric = torch.cat([c[1] for c in chosen])
    depth = torch.cat([c[2] for c in chosen])
    normals = vertex_normals(vertices, rig.faces)[rig.faces[triangles]]
    normals = torch.nn.functional.normalize((normals * barycentric[..., None]).sum(1), dim=-1)
    kind = torch.cat([torch.full((len(c[0]),), float(index)) for index, c in enumerate(chosen)])
    count, components = len(triangles), len(motion.scale)
    parts = rig.parts[triangles].clone()
    parts[(kind == 1) | (kind == 2)] = Part.HAIR
    parts[kind == 3] = Part.CLOTH
    surface_radius = SURFACE_RADIUS_METRES * math.sqrt(SURFACE_RADIUS_POINTS / budget.surface)
    radii = torch.where(kind == 0, surface_radius, SHELL_RADIUS_FACTOR * surface_radius)
    fine = (kind == 0) & ((parts == Part.EYES) | (parts == Part.MOUTH) | (parts == Part.EYEBROWS))
    radii = torch.where(fine, FEATURE_RADIUS_FACTOR * surface_radius, radii)
    return Avatar(
        rig=rig.name,
        shape=shape,
        triangles=triangles,
        barycentric=barycentric,
        offsets=normals * depth[:, None],
        log_radii=radii.log(),
        opacity_logits=torch.full((count,), 2.0),
        albedo=torch.full((count, 3), 0.4),
        part_logits=torch.nn.functional.one_hot(parts, len(Part)).float() * 4.0,
        position_basis=torch.zeros(components, count, 3),
        colour_basis=torch.zeros(components, count, 3),
        groups=torch.zeros(count, dtype=torch.int64),
        lights=even_light()[None],
        motions=(motion,),
    )


def _sample(weights: Tensor, count: int, depth: float, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Points uniform over triangles weighted by `weights` (F,), at uniform heights up to `depth` metres.

    Returns:
        triangles (count,), barycentric coordinates (count, 3) and heights (count,) in metres.
    """
    triangles = torch.multinomial(weights, count, replacement=True, generator=generator)
    u, v, height = torch.rand(3, count, generator=generator)
    root = u.sqrt()
    barycentric = torch.stack([1 - root, root * (1 - v), root * v], dim=-1)
    return triangles, barycentric, height * depth
