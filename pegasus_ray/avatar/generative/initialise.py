"""Where a generative avatar begins: the target's points, and for each attribute one pool of points that can be any source's.

Legend: n points of a pool, D numbers a code, M sources, F numbers a point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import by_form, tinted
from pegasus_ray.avatar.borrow.complete_scalp import uncover
from pegasus_ray.avatar.borrow.match_light import lit_as
from pegasus_ray.avatar.borrow.parts import (
    COVERS_SCALP,
    carried,
    has_attribute,
    join_group,
    lend,
    lifted,
    part_of_points,
    places_of,
)
from pegasus_ray.avatar.borrow.put_on import recoloured, underlay
from pegasus_ray.avatar.generative.avatar import OWN, STATE, CodedPoints, GenerativeAvatar
from pegasus_ray.avatar.generative.matching import match_points
from pegasus_ray.avatar.points.avatar import Avatar, MotionCode
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute, Part

FADED, FOLDED_SIZE, FOLDED_DEPTH = -5.0, 0.5, 0.002
"""Opacity logit of a pool's points where a source has nothing to show, size against the others', metres under the surface."""

SPARE = 1.0
"""Off the logarithm of the radius of a point that a source has no use for, which lies in another one: as large as that it would
take its place among a pixel's nearest, and hair behind both would be a hole."""


def compose(
    target: Avatar,
    sources: Mapping[Attribute, Sequence[tuple[str, Avatar]]],
    rig: Rig,
    *,
    people: Sequence[tuple[str, Avatar]] = (),
    code_size: int = 16,
    seed: int = 0,
) -> GenerativeAvatar:
    """A generative avatar whose codes already reproduce every source's attribute on the target, before any training.

    Args:
        target: the person's own avatar.
        sources: an attribute's lending avatars by name.
        rig: the rig of all of them.
        people: those who get an identity code too: all of them is shown, not one attribute on the target.
        code_size: D; with more sources than that, the states are approximated in D directions.
        seed: of the codes' random directions.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks: dict[Attribute, CodedPoints] = {}
    for attribute, lenders in sources.items():
        lit = [lit_as(avatar, target, rig) for _, avatar in lenders]
        lent = [_lent(avatar, target, attribute, rig) for avatar in (target, *lit)]
        shapes = [target.shape] + [rig.mix_shape(target.shape, avatar.shape, attribute) for _, avatar in lenders]
        names = (OWN, *(name for name, _ in lenders))
        paired = by_form(target, attribute, rig)
        blocks[attribute] = _pool(lent, shapes, names, rig, code_size, generator, paired=paired)
        if attribute in COVERS_SCALP:
            blocks[attribute] = replace(blocks[attribute], points=_still(blocks[attribute].points))
        elif not paired:
            blocks[attribute] = replace(blocks[attribute], points=_moving_as(blocks[attribute], target, rig))
    bases = [_base(target, tuple(sources), rig)]
    bases += [_relit(avatar.select(~_taken(avatar, tuple(sources))), target) for _, avatar in people]
    shapes, names = [target.shape, *(avatar.shape for _, avatar in people)], (OWN, *(name for name, _ in people))
    identity = _pool(bases, shapes, names, rig, code_size, generator)
    return GenerativeAvatar(identity=identity, blocks=blocks)


def _taken(avatar: Avatar, attributes: Sequence[Attribute]) -> Tensor:
    """The points of the attributes, (N,)."""
    part = part_of_points(avatar)
    return torch.stack([part == attribute.part for attribute in attributes]).any(0) if attributes else part < 0


def _base(target: Avatar, attributes: Sequence[Attribute], rig: Rig) -> Avatar:
    """The target without the attributes: skin in their place, so that a smaller borrowed part leaves no hole."""
    taken = target.select(_taken(target, attributes))
    base = target.select(~_taken(target, attributes))
    covers = part_of_points(taken)
    hair = taken.select((covers == Part.HAIR) | (covers == Part.HAT))
    moved = [a.part for a in (Attribute.EYEBROWS, Attribute.MOUTH, Attribute.EYES) if not by_form(target, a, rig)]
    features = taken.select(torch.isin(covers, torch.tensor(moved, device=covers.device)))
    base = join_group(base, underlay(features, base.select(part_of_points(base) == Part.SKIN), rig))
    if any(attribute in COVERS_SCALP for attribute in attributes):
        base = uncover(base, hair, rig, keep_skin=True)
    return base


def _pool(
    lent: Sequence[Avatar],
    shapes: Sequence[Tensor],
    names: tuple[str, ...],
    rig: Rig,
    code_size: int,
    generator: torch.Generator,
    *,
    paired: bool = False,
) -> CodedPoints:
    """Points that can be any source's: as many as the richest has, bound where its are, each paired with every other's.

    With `paired` they are the same points for everybody, in other colours.
    """
    richest = max(range(len(lent)), key=lambda index: len(lent[index]))
    pool = lent[richest]
    here = places_of(pool, rig, shapes[richest])
    states = torch.stack(
        [
            _state(avatar) if paired or avatar is pool else _state_in(pool, here, avatar, shape, rig)
            for avatar, shape in zip(lent, shapes, strict=True)
        ]
    )
    codes = _directions(len(states), code_size, generator)
    middle = states.mean(0)
    centred = codes - codes.mean(0)
    basis = torch.linalg.pinv(centred) @ (states - middle).flatten(1)
    start = middle - torch.einsum("d,dnf->nf", codes.mean(0), basis.view(code_size, *middle.shape))
    return CodedPoints(
        points=_with_state(pool, start),
        basis=basis.view(code_size, *middle.shape),
        codes=codes,
        sources=names,
        shapes=torch.stack(list(shapes)),
    )


def _lent(avatar: Avatar, target: Avatar, attribute: Attribute, rig: Rig) -> Avatar:
    """A source's points of the attribute in the target's light and motion code, or what the target's own are to become."""
    if avatar is not target and by_form(target, attribute, rig):
        seen = has_attribute(avatar, attribute)
        avatar = tinted(target, avatar, attribute, rig) if seen else target
        return avatar.select(part_of_points(target) == attribute.part)
    if avatar is not target and attribute in COVERS_SCALP:
        avatar = carried(avatar, attribute.part, rig, target.shape)
    points = avatar.select(part_of_points(avatar) == attribute.part)
    if avatar is target or len(points) == 0:
        return points
    points = lend(avatar, attribute, rig) if has_attribute(avatar, attribute) else points
    points = lifted(points, target, rig) if attribute is Attribute.HAIR else points
    moved = _relit(points, target)
    toned = recoloured(points, avatar, target, attribute, rig)
    return moved if toned is points else replace(moved, albedo=toned.albedo)


def _relit(points: Avatar, target: Avatar) -> Avatar:
    """Points in the target's light and motion code, as bright as they were."""
    gain = points.lights[0, 0] / target.lights[0, 0].clamp(min=1e-2)
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
    """The state (n, F) in which the pool's points look like `source` on `shape`; `here` (n, 3) is where the pool's lie.

    Of those that are paired with one point the nearest becomes it, and the others shrink into it.
    """
    if len(source) == 0:
        return _state(_folded(pool, rig, shape))
    there = source.roots(rig, shape) + source.offsets
    chosen = match_points(here, there)
    away = (here - there[chosen]).norm(dim=1)
    least = torch.full_like(there[:, 0], torch.inf).scatter_reduce(0, chosen, away, "amin")
    unused = away > least[chosen]
    return _state(
        pool.with_tensors(
            {
                "offsets": there[chosen] - pool.roots(rig, shape),
                "log_radii": source.log_radii[chosen] - SPARE * unused,
                "opacity_logits": source.opacity_logits[chosen],
                "albedo": source.albedo[chosen],
            }
        )
    )


def _folded(pool: Avatar, rig: Rig, shape: Tensor) -> Avatar:
    """The pool where a source has nothing to show: small and faint under the surface, from where a mixture brings it out."""
    normals = pool.anchors(rig, shape).normals
    return pool.with_tensors(
        {
            "offsets": -FOLDED_DEPTH * normals,
            "log_radii": pool.log_radii + math.log(FOLDED_SIZE),
            "opacity_logits": torch.full_like(pool.opacity_logits, FADED),
        }
    )


def _state(avatar: Avatar) -> Tensor:
    return torch.cat([getattr(avatar, name).reshape(len(avatar), width) for name, width in STATE.items()], dim=1)


def _with_state(avatar: Avatar, state: Tensor) -> Avatar:
    parts = torch.split(state, list(STATE.values()), dim=1)
    return avatar.with_tensors(
        {name: part.reshape(getattr(avatar, name).shape) for name, part in zip(STATE, parts, strict=True)}
    )


def _still(pool: Avatar) -> Avatar:
    """Hair and hats answer to no expression: whose would it be?"""
    return pool.with_tensors(
        {name: torch.zeros_like(getattr(pool, name)) for name in ("position_basis", "colour_basis")}
    )


def _moving_as(block: CodedPoints, target: Avatar, rig: Rig) -> Avatar:
    """A feature's points with the motion that the target has where they lie under the target's own code: it is their face."""
    own = block.decode(block.codes[0])
    near = nearest(places_of(own, rig, target.shape), places_of(target, rig), 1)[1][:, 0]
    return block.points.with_tensors(
        {name: getattr(target, name)[:, near] for name in ("position_basis", "colour_basis")}
    )


def _directions(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Codes (count, size) around the origin, as far from each other as they can be: orthogonal while there is room."""
    codes = torch.randn(max(count, size), size, generator=generator)
    if count <= size:
        codes = torch.linalg.qr(codes)[0]
    unit: Tensor = torch.nn.functional.normalize(codes[:count], dim=1)
    return 0.5 * unit
