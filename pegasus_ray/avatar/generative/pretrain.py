"""Pretraining the fields of a generative avatar on what its points already say, before any picture is drawn.

Colours and motion come with the points. What the fields still have to learn is the light, and a signed distance that is zero
where the points are. The codes of all blocks are drawn at random together, so that combinations that no picture shows are
learned too.

Legend: N points, M learned codes of a block, D numbers per code.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.avatar import FieldAvatar, canonical_roots
from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.field_avatar import whole_code
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.shading import shade
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Part

POINTS_PER_STEP = 1024
"""Points at which a step evaluates the signed distance."""

NORMALS_PER_STEP = 1024
"""Random normals that a step shades."""

FIRST_RATE = 2e-3
"""Adam's rate at the first step; it falls to zero along a cosine."""


def pretrain_fields(
    networks: FieldAvatar, start: GenerativeAvatar, rig: Rig, config: FitConfig, generator: torch.Generator
) -> float:
    """Train the canonical field and the shading for `config.settle_steps` steps; returns the smoothed loss at the end."""
    weights, smooth = config.field_weights, 0.0
    parameters = [*networks.field.parameters(), *networks.shading.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=FIRST_RATE, betas=(0.9, 0.99))
    for step in range(config.settle_steps):
        optimizer.param_groups[0]["lr"] = FIRST_RATE * 0.5 * (1 + math.cos(math.pi * step / config.settle_steps))
        with torch.no_grad():
            chosen = {attribute: _random_code(block.codes, generator) for attribute, block in start.blocks.items()}
            identity = _random_code(start.identity.codes, generator)
            points = start.decode(chosen, rig, identity=identity, pressed=torch.zeros(()))
            points = points.select(torch.randperm(len(points), generator=generator)[:POINTS_PER_STEP])
            code = whole_code(networks, chosen, identity)
        loss = _surface_loss(networks, points, rig, code, config) + weights.colour * _light_loss(
            networks, code, points.lights[0], generator
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        smooth = float(loss.detach()) if step == 0 else 0.98 * smooth + 0.02 * float(loss.detach())
    return smooth


def _random_code(codes: Tensor, generator: torch.Generator) -> Tensor:
    """One of the codes (M, D)."""
    return codes[int(torch.randint(len(codes), (), generator=generator))]


def _surface_loss(networks: FieldAvatar, points: Avatar, rig: Rig, code: Tensor, config: FitConfig) -> Tensor:
    """The loss of the signed distance: zero where points are opaque, and with the rig's normal as its gradient on skin."""
    weights, solid = config.field_weights, torch.sigmoid(points.opacity_logits)
    places = canonical_roots(rig, points.triangles, points.barycentric) + points.offsets
    values = networks.field(places, code)
    skin = torch.softmax(points.part_logits, dim=-1)[:, Part.SKIN] * solid
    unit = nn.functional.normalize(values.gradient, dim=-1)
    return (
        weights.eikonal * losses.eikonal_loss(values.gradient)
        + weights.surface * losses.surface_loss(values.distance * solid)
        + weights.normal * losses.normal_loss(unit, points.anchors(rig).normals, skin)
    )


def _light_loss(networks: FieldAvatar, code: Tensor, light: Tensor, generator: torch.Generator) -> Tensor:
    """The mean difference between the learned shading of random normals and that by the target's light (9, 3)."""
    normals = nn.functional.normalize(torch.randn(1, NORMALS_PER_STEP, 3, generator=generator), dim=-1)
    error: Tensor = networks.shading(normals, code) - shade(normals, light).clamp(0, 2)
    return error.abs().mean()
