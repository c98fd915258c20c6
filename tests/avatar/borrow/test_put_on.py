"""Wearing another's part: what is not borrowed stays, what cannot be borrowed is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pegasus_ray.avatar.borrow.by_form import IGNORE_METRES
from pegasus_ray.avatar.borrow.complete_scalp import UNDER_HAIR_METRES
from pegasus_ray.avatar.borrow.parts import lend
from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.avatar.points.avatar import PER_POINT
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part
from tests.painted import painted_avatar

HAIR, NOSE, HAT = Attribute.HAIR, Attribute.NOSE, Attribute.HAT


def test_wearing_keeps_every_point_of_the_wearer_that_hair_was_not_near() -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    worn = put_on(wearer, source, HAIR, rig)
    part, places = wearer.parts, wearer.places(rig)
    mine = wearer.select(part == Part.HAIR)
    hiding = torch.cat([places[part == Part.HAIR], mine.anchors(rig).positions])
    far = torch.cdist(places, hiding).amin(1) > UNDER_HAIR_METRES
    sure = wearer.select((part != Part.HAIR) & far)
    at = torch.cdist(sure.barycentric, worn.barycentric, compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
    assert len(sure) > 200
    for name in set(PER_POINT) - {"albedo"}:
        assert torch.equal(getattr(worn, name)[at], getattr(sure, name)), name
    below = sure.places(rig)[:, 1] < 0  # above the eyes skin may have been behind hair, and is cleared of it
    assert torch.equal(worn.albedo[at][below], sure.albedo[below])
    lent = lend(source, HAIR, rig)
    assert torch.equal(worn.albedo[-len(lent) :], lent.albedo)
    assert torch.equal(worn.shape, wearer.shape)


def test_a_borrowed_nose_is_the_wearer_s_own_in_another_form_and_far_from_it_nothing_changes() -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    worn = put_on(wearer, source, NOSE, rig)
    mixed = rig.mix_shape(wearer.shape, source.shape, NOSE)
    assert not torch.equal(mixed, wearer.shape) and torch.equal(worn.shape, wearer.shape)
    assert len(worn) == len(wearer)
    nose = wearer.parts == Part.NOSE
    torch.testing.assert_close(worn.places(rig)[nose], wearer.places(rig, mixed)[nose], atol=1e-6, rtol=0)
    around = torch.cat([wearer.places(rig)[nose], wearer.places(rig, mixed)[nose]])
    far = torch.cdist(wearer.places(rig), around).amin(1) > IGNORE_METRES + 1e-4
    assert 0 < int(far.sum()) < len(far)
    for name in ("offsets", "albedo"):
        assert torch.equal(getattr(worn, name)[far], getattr(wearer, name)[far]), name
    assert not torch.equal(worn.offsets[~nose], wearer.offsets[~nose]), "what is beside it goes along"
    torch.testing.assert_close(worn.albedo, wearer.albedo, atol=1e-5, rtol=0)  # even light shades every form alike


def test_a_nose_takes_the_wearer_s_tone_and_brows_keep_only_their_hairs() -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    rig = replace(rig, shape_names=tuple(f"shape/{index}" for index in range(len(rig.shape_names))))  # as imported ones
    tones = [avatar.albedo[avatar.parts == Part.SKIN][0] for avatar in (wearer, source)]
    part = source.parts
    skinny = (part == Part.NOSE) | ((part == Part.EYEBROWS) & (torch.arange(len(source)) % 2 == 0))
    albedo = torch.where(skinny[:, None], tones[1], source.albedo)
    albedo[(part == Part.EYEBROWS) & ~skinny] = 0.02
    wearer = replace(wearer, albedo=torch.where((wearer.parts == Part.NOSE)[:, None], tones[0], wearer.albedo))
    painted = replace(source, albedo=albedo)
    nose = put_on(wearer, painted, NOSE, rig).albedo[-10:]
    torch.testing.assert_close(nose, tones[0].expand(10, 3), atol=0.02, rtol=0)
    brows = put_on(wearer, painted, Attribute.EYEBROWS, rig).albedo[-len(lend(painted, Attribute.EYEBROWS, rig)) :]
    hair = brows.mean(1) < 0.1
    assert 0.2 < float(hair.float().mean()) < 0.8
    torch.testing.assert_close(brows[~hair], tones[0].expand(int((~hair).sum()), 3), atol=0.05, rtol=0)


def test_what_is_not_there_cannot_be_borrowed() -> None:
    with pytest.raises(PegasusError) as caught:
        put_on(painted_avatar(), painted_avatar(1), HAT, load_rig())
    assert caught.value.reason is Reason.MISSING_ATTRIBUTE and "hat" in caught.value.message


def test_avatars_on_different_rigs_do_not_mix() -> None:
    with pytest.raises(PegasusError) as caught:
        put_on(painted_avatar(), replace(painted_avatar(1), rig="other"), HAIR, load_rig())
    assert caught.value.reason is Reason.BAD_REFERENCE
