"""The points of a part: specks and points that hover alone do not belong to it."""

from __future__ import annotations

from dataclasses import replace

import torch

from pegasus_ray.avatar.borrow.parts import lend, members
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute, Part
from tests.painted import painted_avatar

HAIR = Attribute.HAIR


def test_strays_are_left_behind() -> None:
    rig, avatar = load_rig(), painted_avatar()
    hair = (avatar.parts == Part.HAIR).nonzero()[:, 0]
    stray = avatar.offsets.clone()
    stray[hair[:1]] += torch.tensor([0.0, 0.3, 0.0])
    lent = lend(replace(avatar, offsets=stray), HAIR, rig)
    assert len(lent) == len(lend(avatar, HAIR, rig)) - 1


def test_a_speck_of_lip_on_a_cheek_stays_where_it_is() -> None:
    rig, avatar = load_rig(), painted_avatar()
    cheek = int((avatar.parts == Part.SKIN).nonzero()[0, 0])
    logits = avatar.part_logits.clone()
    logits[cheek] = 4.0 * torch.nn.functional.one_hot(torch.tensor(int(Part.MOUTH)), len(Part)).float()
    mouth = members(replace(avatar, part_logits=logits), Part.MOUTH, rig)
    assert not bool(mouth[cheek])
    assert float(mouth[avatar.parts == Part.MOUTH].float().mean()) > 0.8
