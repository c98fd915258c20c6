"""Hair under a hat: what sticks out near it is gone, hair that lies flat or hangs far from it stays."""

from __future__ import annotations

import torch

from pegasus_ray.avatar.borrow.hair_under_hat import under_hat
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Part
from tests.painted import painted_avatar


def test_tall_hair_under_the_hat_is_gone_and_the_rest_of_the_person_stays() -> None:
    rig, wearer = load_rig(), painted_avatar(1)  # with hair up to 2 cm high
    part = wearer.parts
    places = wearer.anchors(rig).positions + wearer.offsets
    crown = (part == Part.HAIR) & (places[:, 1] > 0.08)
    hat = wearer.select(crown)
    left = under_hat(wearer, hat, rig)
    kept = left.parts
    there = (left.anchors(rig).positions + left.offsets)[kept == Part.HAIR]
    assert crown.sum() > 100
    assert int((there[:, 1] > 0.085).sum()) == 0  # what the hat covers is gone
    height = left.select(kept == Part.HAIR).offsets.norm(dim=1)
    assert float(height[there[:, 1] > 0.06].max()) < 0.025  # what is left beside it lies flat
    far = (part == Part.HAIR) & (places[:, 1] < 0.02)
    assert int((there[:, 1] < 0.02).sum()) == int(far.sum())  # hair well below it is as it was
    for other in (Part.NOSE, Part.MOUTH, Part.EYES):
        assert int((kept == other).sum()) == int((part == other).sum())


def test_without_a_hat_no_hair_is_lost() -> None:
    rig, wearer = load_rig(), painted_avatar(1)
    nothing = wearer.select(torch.zeros(len(wearer), dtype=torch.bool))
    left = under_hat(wearer, nothing, rig)
    assert int((left.parts == Part.HAIR).sum()) == int((wearer.parts == Part.HAIR).sum())
