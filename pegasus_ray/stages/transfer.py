"""transfer: zero-shot, another's attribute on a new user's avatar (paper §5, Eqs. 11–13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfig:
    """How borrowed points are matched to the wearer's."""

    smooth: float = 0.006  # metres over which skin colours are averaged where borrowed skin is matched to the wearer's


def transfer(
    source: Avatar | GenerativeAvatar,
    user_avatar: Avatar,
    attributes: Sequence[Attribute],
    config: TransferConfig,
    *,
    codes: Mapping[Attribute, str] | None = None,
) -> Avatar:
    """A new user's avatar wearing the source's attributes: an ordinary avatar, made without any training.

    Args:
        source: an avatar, or a generative avatar together with `codes`.
        user_avatar: the new user's avatar, fitted to their video alone.
        attributes: what to borrow, put on in this order.
        config: how borrowed points are matched.
        codes: for a generative source, the code to take for an attribute, by the name of the avatar that it was learned from; by
            default the source person's own.

    Raises:
        PegasusError: MISSING_ATTRIBUTE, BAD_REFERENCE.
    """
    rig = load_rig(user_avatar.rig)
    worn = user_avatar
    for attribute in attributes:
        lender = (
            source
            if isinstance(source, Avatar)
            else dressed(source, {a: c for a, c in (codes or {}).items() if a is attribute})
        )
        worn = put_on(worn, lender, attribute, rig, smooth=config.smooth)
    return worn


def dressed(generative: GenerativeAvatar, sources: Mapping[Attribute, str]) -> Avatar:
    """The generative avatar's person with the attributes of the named sources, as an ordinary avatar."""
    chosen = {
        attribute: generative.blocks[attribute].code(name)
        for attribute, name in sources.items()
        if attribute in generative.blocks
    }
    return generative.decode(generative.codes(chosen), load_rig(generative.identity.points.rig))
