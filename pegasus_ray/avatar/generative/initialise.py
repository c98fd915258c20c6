"""The generative avatar before training: the target's points and, per attribute, a pool of points that can become any source's.

Legend: n points of a pool, D numbers per code, F numbers per point, K shape axes, Z motion components, N points of an avatar.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.avatar.borrow.by_form import tint
from pegasus_ray.avatar.borrow.complete_scalp import complete_scalp
from pegasus_ray.avatar.borrow.decide import COVERS_SCALP, Borrowing, Way, decide, way_of, without_motion
from pegasus_ray.avatar.borrow.parts import has_attribute
from pegasus_ray.avatar.borrow.put_on import underlay
from pegasus_ray.avatar.borrow.recolour import recolour
from pegasus_ray.avatar.generative.avatar import OWN, STATE, CodedPoints, GenerativeAvatar
from pegasus_ray.avatar.generative.matching import match_points
from pegasus_ray.avatar.points.avatar import Avatar, join_group
from pegasus_ray.avatar.points.motion import MAX_CODE, MotionCode
from pegasus_ray.avatar.points.neighbours import nearest
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.parts import Attribute, Part

HIDDEN_OPACITY_LOGIT: Final = -5.0
"""Opacity logit of a pool's points under the code of a source that does not show the attribute."""
HIDDEN_SIZE: Final = 0.5
"""Radius of such points, relative to the pool's."""
HIDDEN_DEPTH_METRES: Final = 0.002
"""How far under the rig's surface such points lie."""
SPARE_LOG_SIZE: Final = 1.0
"""Subtracted from the log radius of a spare point: one that lies inside another, as the source has fewer points than the pool.

At full size it would be among a pixel's nearest points, in place of others behind it, and hair would show a hole there.
"""


def initialise_generative(
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
        sources: for each attribute the lending avatars, with their names.
        rig: the rig of all of them.
        people: further avatars that get an identity code: under it the whole person is shown, not one attribute on the target.
        code_size: D. With more than D sources of an attribute their states, and the target's, are only approximated.
        seed: of the codes' random directions.

    Raises:
        PegasusError: BAD_REFERENCE where a source is bound to another rig.
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = {a: _block(target, lenders, a, rig, code_size, generator) for a, lenders in sources.items()}
    bases = [_without(target, tuple(sources), rig)]
    bases += [_as_if_target(avatar.select(~_taken(avatar, tuple(sources))), target) for _, avatar in people]
    shapes, names = [target.shape, *(avatar.shape for _, avatar in people)], (OWN, *(name for name, _ in people))
    identity = _pool(_PoolMembers(bases, shapes, names), rig, code_size, generator)
    return GenerativeAvatar(identity=identity, blocks=blocks)


@dataclass(frozen=True, slots=True)
class _PoolMembers:
    """The point sets that one pool has to reproduce, each under a code of its own; the target's comes first."""

    points: Sequence[Avatar]
    shapes: Sequence[Tensor]  # (K,) each: the shape on which these points are drawn
    names: tuple[str, ...]


def _block(
    target: Avatar,
    lenders: Sequence[tuple[str, Avatar]],
    attribute: Attribute,
    rig: Rig,
    code_size: int,
    generator: torch.Generator,
) -> CodedPoints:
    """The pool of one attribute."""
    borrowings = [decide(target, avatar, attribute, rig) for _, avatar in lenders]
    own = target.select(target.parts == attribute.part)
    members = _PoolMembers(
        [own, *(_lent(how, target, rig) for how in borrowings)],
        [target.shape, *(how.shape for how in borrowings)],
        (OWN, *(name for name, _ in lenders)),
    )
    way = way_of(target, attribute, rig)
    block = _pool(members, rig, code_size, generator, same_points=way is Way.FORM)
    if way is Way.COVER:
        return replace(block, points=without_motion(block.points))
    return block if way is Way.FORM else replace(block, points=_moving_as(block, target, rig))


def _taken(avatar: Avatar, attributes: Sequence[Attribute]) -> Tensor:
    """The points of the attributes, (N,) bool."""
    part = avatar.parts
    return torch.stack([part == attribute.part for attribute in attributes]).any(0) if attributes else part < 0


def _without(target: Avatar, attributes: Sequence[Attribute], rig: Rig) -> Avatar:
    """The target without the attributes, with skin in their place, so that a smaller borrowed part leaves no hole."""
    taken = target.select(_taken(target, attributes))
    base = target.select(~_taken(target, attributes))
    part = taken.parts
    hair = taken.select((part == Part.HAIR) | (part == Part.HAT))
    features = (Attribute.EYEBROWS, Attribute.MOUTH, Attribute.EYES)
    replaced = [a.part for a in features if way_of(target, a, rig) is not Way.FORM]
    under = taken.select(torch.isin(part, torch.tensor(replaced, device=part.device)))
    base = join_group(base, underlay(under, base.select(base.parts == Part.SKIN), rig))
    if any(attribute in COVERS_SCALP for attribute in attributes):
        base = complete_scalp(base, hair, rig, keep_skin=True)
    return base


def _pool(
    members: _PoolMembers, rig: Rig, code_size: int, generator: torch.Generator, *, same_points: bool = False
) -> CodedPoints:
    """Points that can reproduce any member: those of the largest member, each paired with a point of every other member.

    With `same_points` all members are the same points in other colours, and nothing has to be paired.
    """
    largest = max(range(len(members.points)), key=lambda index: len(members.points[index]))
    pool = members.points[largest]
    here = pool.places(rig, members.shapes[largest])
    states = torch.stack(
        [
            _state(points) if same_points or points is pool else _state_in(pool, here, points, shape, rig)
            for points, shape in zip(members.points, members.shapes, strict=True)
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
        sources=members.names,
        shapes=torch.stack(list(members.shapes)),
    )


def _lent(how: Borrowing, target: Avatar, rig: Rig) -> Avatar:
    """The points that an attribute should consist of under a source's code, in the target's light and motion code.

    A source that does not show the attribute lends no points; a feature that is borrowed by form then stays the target's own.
    """
    shown = has_attribute(how.source, how.attribute)
    if how.way is Way.FORM:
        coloured = tint(target, how.source, how.attribute, rig) if shown else target
        return coloured.select(target.parts == how.attribute.part)
    if not shown:
        return how.source.select(torch.zeros_like(how.source.parts, dtype=torch.bool))
    points = how.on_clothes(how.lent(rig), target, rig)
    moved, toned = _as_if_target(points, target), recolour(points, how, target, rig)
    return moved if toned is points else replace(moved, albedo=toned.albedo)


def _as_if_target(points: Avatar, target: Avatar) -> Avatar:
    """Points of another person in the target's group: in its light, as bright as they were, and in its motion code."""
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
    """The avatar with its motion bases expressed in another motion code.

    Both codes are affine in the same signal, so the change is a linear map of the bases and a shift of offsets and colours. It is
    exact for an avatar of one group, where no code is clamped, and where the new code spans the old one's components. For an
    avatar of several groups the first one's code is taken for all.
    """
    old = avatar.motions[0]
    change = (old.components / old.scale[:, None]) @ (motion.components.T * motion.scale)  # (Z, Z')
    shift = (old.components / old.scale[:, None]) @ (motion.mean - old.mean)  # (Z,)
    at_mean = shift.clamp(-MAX_CODE, MAX_CODE)
    return replace(
        avatar,
        offsets=avatar.offsets + torch.einsum("z,znc->nc", at_mean, avatar.position_basis),
        albedo=avatar.albedo + torch.einsum("z,znc->nc", at_mean, avatar.colour_basis),
        position_basis=torch.einsum("zy,znc->ync", change, avatar.position_basis),
        colour_basis=torch.einsum("zy,znc->ync", change, avatar.colour_basis),
        motions=(motion,),
    )


def _state_in(pool: Avatar, here: Tensor, source: Avatar, shape: Tensor, rig: Rig) -> Tensor:
    """The state (n, F) in which the pool's points look like `source` on `shape`; `here` (n, 3) is where the pool's points lie.

    Where several points of the pool are paired with one point of the source, all move to it, the nearest gets its radius, and the
    others are made smaller.
    """
    if len(source) == 0:
        return _state(_hidden(pool, rig, shape))
    there = source.places(rig, shape)
    chosen = match_points(here, there)
    away = (here - there[chosen]).norm(dim=1)
    least = torch.full_like(there[:, 0], torch.inf).scatter_reduce(0, chosen, away, "amin")
    spare = away > least[chosen]
    return _state(
        pool.with_tensors(
            {
                "offsets": there[chosen] - pool.roots(rig, shape),
                "log_radii": source.log_radii[chosen] - SPARE_LOG_SIZE * spare,
                "opacity_logits": source.opacity_logits[chosen],
                "albedo": source.albedo[chosen],
            }
        )
    )


def _hidden(pool: Avatar, rig: Rig, shape: Tensor) -> Avatar:
    """The pool for a source without the attribute: small, faint and under the surface, so that a mixture of codes fades it in."""
    normals = pool.anchors(rig, shape).normals
    return pool.with_tensors(
        {
            "offsets": -HIDDEN_DEPTH_METRES * normals,
            "log_radii": pool.log_radii + math.log(HIDDEN_SIZE),
            "opacity_logits": torch.full_like(pool.opacity_logits, HIDDEN_OPACITY_LOGIT),
        }
    )


def _state(avatar: Avatar) -> Tensor:
    """What a code changes about the points, as one tensor (n, F)."""
    return torch.cat([getattr(avatar, name).reshape(len(avatar), width) for name, width in STATE.items()], dim=1)


def _with_state(avatar: Avatar, state: Tensor) -> Avatar:
    """The inverse of `_state`, on the points of `avatar`."""
    parts = torch.split(state, list(STATE.values()), dim=1)
    return avatar.with_tensors(
        {name: part.reshape(getattr(avatar, name).shape) for name, part in zip(STATE, parts, strict=True)}
    )


def _moving_as(block: CodedPoints, target: Avatar, rig: Rig) -> Avatar:
    """The pool's points with the learned motion of the target's nearest points: borrowed brows move as the target's face does."""
    own = block.decode(block.codes[0])
    near = nearest(own.places(rig, target.shape), target.places(rig), 1)[1][:, 0]
    return block.points.with_tensors(
        {name: getattr(target, name)[:, near] for name in ("position_basis", "colour_basis")}
    )


def _directions(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Codes (count, size) of length 0.5 in random directions, orthogonal if there are no more codes than dimensions."""
    codes = torch.randn(max(count, size), size, generator=generator)
    if count <= size:
        codes = torch.linalg.qr(codes)[0]
    unit: Tensor = torch.nn.functional.normalize(codes[:count], dim=1)
    return 0.5 * unit
