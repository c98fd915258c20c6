"""Where a generative avatar begins: the target's points, and for each attribute one pool of points that can be any source's.

Legend: n points of a pool, D numbers a code, M sources, F numbers a point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.dress import COVERS_SCALP, clear_skin, complete_scalp, join_group, part_of_points, skin_tone
from pegasus_ray.avatar.generative import OWN, STATE, CodedPoints, GenerativeAvatar
from pegasus_ray.avatar.matching import pair_points
from pegasus_ray.avatar.model import Avatar, MotionCode
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute, Part

FADED = -4.0
"""Opacity logit of a pool's points where a source has nothing to show (a bald target's hair)."""


def compose(
    target: Avatar,
    sources: Mapping[Attribute, Sequence[tuple[str, Avatar]]],
    rig: Rig,
    *,
    code_size: int = 16,
    seed: int = 0,
) -> GenerativeAvatar:
    """A generative avatar whose codes already reproduce every source's attribute on the target, before any training.

    Args:
        target: the person's own avatar.
        sources: an attribute's lending avatars by name.
        rig: the rig of all of them.
        code_size: D; with more sources than that, the states are approximated in D directions.
        seed: of the codes' random directions.
    """
    generator = torch.Generator().manual_seed(seed)
    part = part_of_points(target)
    kept = torch.ones(len(target), dtype=torch.bool, device=part.device)
    blocks: dict[Attribute, CodedPoints] = {}
    for attribute, lenders in sources.items():
        kept &= part != attribute.part
        blocks[attribute] = _pool(target, attribute, lenders, rig, code_size, generator)
    base = target.select(kept)
    if any(attribute in COVERS_SCALP for attribute in sources):
        base = clear_skin(base, target.select(~kept & ((part == Part.HAIR) | (part == Part.HAT))), rig)
        base = join_group(base, complete_scalp(base, rig))
    identity = CodedPoints(
        points=base,
        basis=torch.zeros(code_size, len(base), sum(STATE.values())),
        codes=0.25 * torch.randn(1, code_size, generator=generator),
        sources=(OWN,),
        shapes=target.shape[None],
    )
    return GenerativeAvatar(identity=identity, blocks=blocks)


def _pool(
    target: Avatar,
    attribute: Attribute,
    lenders: Sequence[tuple[str, Avatar]],
    rig: Rig,
    code_size: int,
    generator: torch.Generator,
) -> CodedPoints:
    """One attribute's points: as many as the richest source has, bound where its are, paired one to one with every other's."""
    shapes = [target.shape] + [rig.mix_shape(target.shape, avatar.shape, attribute) for _, avatar in lenders]
    lent = [_lent(avatar, target, attribute) for avatar in (target, *(avatar for _, avatar in lenders))]
    richest = max(range(len(lent)), key=lambda index: len(lent[index]))
    pool = lent[richest]
    here = pool.anchors(rig, shapes[richest]).positions + pool.offsets
    states = torch.stack(
        [_state_in(pool, here, avatar, shape, rig) for avatar, shape in zip(lent, shapes, strict=True)]
    )
    codes = _directions(len(states), code_size, generator)
    middle = states.mean(0)
    centred = codes - codes.mean(0)
    basis = torch.linalg.pinv(centred) @ (states - middle).flatten(1)
    start = middle - torch.einsum("d,dnf->nf", codes.mean(0), basis.view(code_size, *middle.shape))
    return CodedPoints(
        points=_with_state(_still(pool, attribute), start),
        basis=basis.view(code_size, *middle.shape),
        codes=codes,
        sources=(OWN, *(name for name, _ in lenders)),
        shapes=torch.stack(shapes),
    )


def _lent(avatar: Avatar, target: Avatar, attribute: Attribute) -> Avatar:
    """A source's points of the attribute, in the target's light and motion code."""
    points = avatar.select(part_of_points(avatar) == attribute.part)
    if avatar is target or len(points) == 0:
        return points
    gain = avatar.lights[0, 0] / target.lights[0, 0].clamp(min=1e-2)
    if attribute is Attribute.NOSE:
        gain = gain * (skin_tone(target) / skin_tone(avatar).clamp(min=1e-2)).clamp(0.4, 2.5)
    moved = rebase_motion(points, target.motions[0])
    return replace(
        moved,
        albedo=moved.albedo * gain,
        groups=torch.zeros_like(points.groups),
        lights=target.lights,
        shape=target.shape,
    )


def rebase_motion(avatar: Avatar, motion: MotionCode) -> Avatar:
    """The avatar's motion bases in another motion code (from its first group's; clamping aside, the nearest linear match)."""
    old = avatar.motions[0]
    change = (old.components / old.scale[:, None]) @ (motion.components.T * motion.scale)  # (Z, Z')
    shift = (old.components / old.scale[:, None]) @ (motion.mean - old.mean)  # (Z,)
    return replace(
        avatar,
        offsets=avatar.offsets + torch.einsum("z,znc->nc", shift.clamp(-2.5, 2.5), avatar.position_basis),
        albedo=avatar.albedo + torch.einsum("z,znc->nc", shift.clamp(-2.5, 2.5), avatar.colour_basis),
        position_basis=torch.einsum("zy,znc->ync", change, avatar.position_basis),
        colour_basis=torch.einsum("zy,znc->ync", change, avatar.colour_basis),
        motions=(motion,),
    )


def _state_in(pool: Avatar, here: Tensor, source: Avatar, shape: Tensor, rig: Rig) -> Tensor:
    """The state (n, F) in which the pool's points look like `source` on `shape`; `here` (n, 3) is where the pool's lie."""
    if len(source) == 0:
        faded = pool.with_tensors({"opacity_logits": torch.full_like(pool.opacity_logits, FADED)})
        return _state(faded)
    there = source.anchors(rig, shape).positions + source.offsets
    filled = torch.arange(len(pool), device=here.device) % len(source)  # a poorer source's points stand for several
    chosen = filled[pair_points(here, there[filled])]
    shared = torch.bincount(filled, minlength=len(source))[chosen].to(here)
    opacity = torch.sigmoid(source.opacity_logits[chosen])
    single = 1 - (1 - opacity).pow(1 / shared)
    return _state(
        pool.with_tensors(
            {
                "offsets": there[chosen] - pool.anchors(rig, shape).positions,
                "log_radii": source.log_radii[chosen],
                "opacity_logits": torch.logit(single.clamp(1e-3, 1 - 1e-3)),
                "albedo": source.albedo[chosen],
            }
        )
    )


def _state(avatar: Avatar) -> Tensor:
    return torch.cat([getattr(avatar, name).reshape(len(avatar), width) for name, width in STATE.items()], dim=1)


def _with_state(avatar: Avatar, state: Tensor) -> Avatar:
    parts = torch.split(state, list(STATE.values()), dim=1)
    return avatar.with_tensors(
        {name: part.reshape(getattr(avatar, name).shape) for name, part in zip(STATE, parts, strict=True)}
    )


def _still(pool: Avatar, attribute: Attribute) -> Avatar:
    """Hair and hats answer to no expression: whose would it be?"""
    if attribute not in COVERS_SCALP:
        return pool
    return pool.with_tensors(
        {name: torch.zeros_like(getattr(pool, name)) for name in ("position_basis", "colour_basis")}
    )


def _directions(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Codes (count, size) around the origin, as far from each other as they can be: orthogonal while there is room."""
    codes = torch.randn(max(count, size), size, generator=generator)
    if count <= size:
        codes = torch.linalg.qr(codes)[0]
    unit: Tensor = torch.nn.functional.normalize(codes[:count], dim=1)
    return 0.5 * unit
