"""Fields over the points of a generative avatar, made to say what is known before any picture is drawn.

The points bring colours and motion along; what fields begin with is the light, and a distance that is zero where the points
are. Codes of all blocks are drawn at random and together, also such that no picture shows.

Legend: N points, D numbers a code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import FieldAvatar, canonical_homes
from pegasus_ray.avatar.fit import field_losses
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.field_avatar import whole_code
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.shading import shade
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

ROWS, DIRECTIONS = 1024, 1024
"""Points whose distance is looked at in a step, and normals that are shaded."""

RATE = 2e-3
"""Adam's, at the start; it falls to nothing along a cosine."""


def settle_generative(
    networks: FieldAvatar, start: GenerativeAvatar, rig: Rig, config: FitConfig, generator: torch.Generator
) -> float:
    """Fit field and shading in `config.settle_steps` steps; returns the last loss, smoothed."""
    weights, smooth = config.field_weights, 0.0
    parameters = [*networks.field.parameters(), *networks.shading.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.99))
    for step in range(config.settle_steps):
        optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * step / config.settle_steps))
        with torch.no_grad():
            chosen = {attribute: _any(block.codes, generator) for attribute, block in start.blocks.items()}
            identity = _any(start.identity.codes, generator)
            points = start.decode(chosen, rig, identity=identity, pressed=torch.zeros(()))
            points = points.select(torch.randperm(len(points), generator=generator)[:ROWS])
            code = whole_code(networks, chosen, identity)
        loss = _surface_loss(networks, points, rig, code, config) + weights.colour * _light_loss(
            networks, code, points.lights[0], generator
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        smooth = float(loss.detach()) if step == 0 else 0.98 * smooth + 0.02 * float(loss.detach())
    return smooth


def _any(codes: Tensor, generator: torch.Generator) -> Tensor:
    """One of the codes (M, D)."""
    return codes[int(torch.randint(len(codes), (), generator=generator))]


def _surface_loss(networks: FieldAvatar, points: Avatar, rig: Rig, code: Tensor, config: FitConfig) -> Tensor:
    """What the signed distance should be at points: zero where they are opaque, and on skin with the rig's normals."""
    weights, solid = config.field_weights, torch.sigmoid(points.opacity_logits)
    places = canonical_homes(rig, points.triangles, points.barycentric) + points.offsets
    values = networks.field(places, code)
    skin = torch.softmax(points.part_logits, dim=-1)[:, Part.SKIN] * solid
    unit = nn.functional.normalize(values.gradient, dim=-1)
    return (
        weights.eikonal * field_losses.eikonal_loss(values.gradient)
        + weights.surface * field_losses.surface_loss(values.distance * solid)
        + weights.normal * field_losses.normal_loss(unit, points.anchors(rig).normals, skin)
    )


def _light_loss(networks: FieldAvatar, code: Tensor, light: Tensor, generator: torch.Generator) -> Tensor:
    """How far shading of normals that look anywhere is from that of the target's light (9, 3)."""
    normals = nn.functional.normalize(torch.randn(1, DIRECTIONS, 3, generator=generator), dim=-1)
    error: Tensor = networks.shading(normals, code) - shade(normals, light).clamp(0, 2)
    return error.abs().mean()
