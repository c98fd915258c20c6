"""A person painted on the rig in plain colours, as an avatar and as a track: exact, small and quick to render."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import torch

from pegasus_ray.avatar.fit.initialize import PointBudget, scatter_points
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import EVERYTHING, render_points
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.avatar.points.motion import MotionCode
from pegasus_ray.library.performance import DRIVING
from pegasus_ray.library.track import Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import PART_OF_LABEL, Part

LABEL_OF_PART = {part: int(label) for label, part in reversed(PART_OF_LABEL.items())}
FRAMES = 12


def parameters(frames: int = FRAMES, seed: int = 0) -> Parameters:
    """A head that looks about and talks a little, 0.8 m away, filling most of the picture."""
    generator = torch.Generator().manual_seed(seed)
    expression = 0.3 * torch.rand(frames, 52, generator=generator)
    head = torch.zeros(frames, 6)
    head[:, 1] = torch.linspace(-0.4, 0.4, frames)
    head[:, 4], head[:, 5] = 0.06, 0.8
    torso = head.clone()
    torso[:, 1] *= 0.3
    camera = torch.tensor([[2.0, 0.5, 0.5]]).repeat(frames, 1)
    return Parameters(
        expression=expression,
        head=head,
        torso=torso,
        jaw=torch.zeros(frames, 3),
        eyes=torch.zeros(frames, 6),
        camera=camera,
    )


@cache
def painted_avatar(seed: int = 0, points: int = 9000) -> Avatar:
    """One plain colour a part, hair on the scalp; other seeds have other colours, other noses and other hair."""
    rig = load_rig()
    generator = torch.Generator().manual_seed(seed)
    shape = torch.zeros(len(rig.shape_names))
    noses = torch.tensor([name.startswith("nose/") for name in rig.shape_names])
    shape[noses] = 0.4 * torch.randn(int(noses.sum()), generator=generator)
    driving = parameters()
    motion = MotionCode.of(driving.expression, driving.head, driving.torso, 4)
    budget = PointBudget(surface=points, hair=points // 4, cloth=10, hair_depth=0.012 + 0.01 * seed, fall_depth=0.001)
    avatar = scatter_points(rig, shape, motion, budget, generator)
    colours = 0.2 + 0.6 * torch.rand(len(Part), 3, generator=generator)
    colours[Part.EYES] = 0.75 + 0.1 * colours[Part.EYES]  # white in everybody: all are filmed in one light
    part = avatar.part_logits.argmax(-1)
    return replace(avatar, albedo=colours[part], opacity_logits=torch.full((len(avatar),), 4.0))


@cache
def painted_track(seed: int = 0, size: int = 64, frames: int = FRAMES) -> Track:
    """What a camera sees of `painted_avatar`, with its parts."""
    rig, avatar, driving = load_rig(), painted_avatar(seed), parameters(frames)
    with torch.no_grad():
        drawn = render_points(
            avatar.canonical(avatar.anchors(rig)), rig, driving.drive(avatar), size, layers=EVERYTHING, per_pixel=12
        )
    labels = np.array([LABEL_OF_PART[part] for part in Part], np.uint8)[drawn.parts.argmax(-1).numpy()]
    labels[drawn.alpha.numpy() < 0.5] = 0
    alpha = drawn.alpha[..., None]
    colours = torch.where(alpha > 1e-3, (drawn.image - (1 - alpha)) / alpha.clamp(min=1e-3), 1.0)
    arrays = {name: getattr(driving, name).numpy() for name in DRIVING}
    return Track(
        source=f"painted-{seed}",
        rig=rig.name,
        images=(colours.clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
        mattes=(drawn.alpha * 255).round().to(torch.uint8).numpy(),
        parts=labels,
        landmarks=np.full((frames, 478, 2), 0.5, np.float32),
        blendshapes=arrays["expression"],
        shape=avatar.shape.numpy(),
        times=np.arange(frames, dtype=np.float32) / 25,
        indices=np.arange(frames, dtype=np.int32),
        quality=np.ones(frames, np.float32),
        **arrays,
    )
