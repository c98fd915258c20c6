"""Where points begin: on the rig's surface, in a shell where hair may be, in a shell where cloth may be.

What the mattes never show is carved away (the visual hull), and visible points take their first colour from the frames.

Legend: N points, F triangles, P parts, Z motion components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pegasus_ray.avatar.points.avatar import Avatar, MotionCode, vertex_normals
from pegasus_ray.avatar.points.shading import even_light
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part


@dataclass(frozen=True, slots=True, kw_only=True)
class PointBudget:
    """How many points begin where."""

    surface: int = 9000
    hair: int = 5000
    cloth: int = 3500
    backing: int = 5000  # under the skin once the fit is done; only what lies in poorly seen places is kept
    hair_depth: float = 0.055  # metres over the scalp
    fall_depth: float = 0.06  # metres around the neck, for hair that falls
    cloth_depth: float = 0.035


@dataclass(frozen=True, slots=True, kw_only=True)
class Regions:
    """Weights to sample each triangle with, (F,): area times where."""

    surface: Tensor
    scalp: Tensor
    fall: Tensor
    cloth: Tensor
    forehead: Tensor


def regions(rig: Rig, vertices: Tensor) -> Regions:
    """The regions of a rig whose rest vertices are (V, 3); places in metres from the point between the eyes."""
    corners = vertices[rig.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) / 2
    x, y, z = corners.mean(1).unbind(-1)
    head = 1 - torso_share(rig)[rig.faces].mean(1)
    parts = rig.parts
    skin = (parts == Part.SKIN) | (parts == Part.NECK) | (parts == Part.CLOTH) | (parts == Part.EARS)
    face = (z > -0.055) & (y < 0.035) & (y > -0.16) & (x.abs() < 0.065)
    scalp = skin & (head > 0.9) & (y > -0.07) & ~((z > -0.055) & (y < 0.035) & (x.abs() < 0.062))
    fall = skin & (head > 0.05) & (y < -0.02) & (y > -0.26) & ~face & (z < -0.02)
    cloth = skin & (head < 0.6)
    detail = 1 + 3 * (face & (head > 0.5)).float()
    return Regions(
        surface=area * detail * torch.where(head < 0.3, 0.6, 1.0),
        scalp=area * scalp,
        fall=area * fall,
        cloth=area * cloth,
        forehead=area * (skin & (head > 0.9) & (y > 0.012) & ~scalp),
    )


def torso_share(rig: Rig) -> Tensor:
    """How much of each vertex the torso moves, (V,)."""
    shares = {"root": 1.0, "neck": 0.5}
    return rig.skin_weights @ torch.tensor([shares.get(name, 0.0) for name in rig.joint_names]).to(rig.skin_weights)


def scatter_points(
    rig: Rig, shape: Tensor, motion: MotionCode, budget: PointBudget, generator: torch.Generator
) -> Avatar:
    """An avatar of grey points in all the places where a person may be.

    Args:
        rig: the rig to bind to.
        shape: (K,) the person's shape.
        motion: the code that the points' bases answer to.
        budget: points a region.
        generator: the source of chance; the same seed gives the same points.
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
    surface_radius = 0.0036 * math.sqrt(9000 / budget.surface)
    radii = torch.where(kind == 0, surface_radius, 1.5 * surface_radius)
    fine = (kind == 0) & ((parts == Part.EYES) | (parts == Part.MOUTH) | (parts == Part.EYEBROWS))
    radii = torch.where(fine, 0.6 * surface_radius, radii)
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
    """Triangles (count,), barycentric coordinates (count, 3) and heights (count,) in metres, even over the surface."""
    triangles = torch.multinomial(weights, count, replacement=True, generator=generator)
    u, v, height = torch.rand(3, count, generator=generator)
    root = u.sqrt()
    barycentric = torch.stack([1 - root, root * (1 - v), root * v], dim=-1)
    return triangles, barycentric, height * depth
