"""Features borrowed by form and colour: the wearer's own points, elsewhere to the last bit as they were."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pegasus_ray.avatar.borrow.by_form import MAX_DISTANCE_FROM_PART_METRES, can_form, in_place, tint
from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.avatar.generative.avatar import mix
from pegasus_ray.avatar.generative.initialise import initialise_generative
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute, Part
from tests.painted import painted_avatar

COLOURED = (Attribute.EYES, Attribute.MOUTH)


def _labelled(avatar: Avatar, index: int, part: Part) -> Avatar:
    logits = avatar.part_logits.clone()
    logits[index] = 4.0 * torch.nn.functional.one_hot(torch.tensor(int(part)), len(Part)).float()
    return replace(avatar, part_logits=logits)


@pytest.mark.parametrize("attribute", COLOURED)
def test_a_feature_keeps_its_points_and_takes_the_lender_s_colours(attribute: Attribute) -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    worn = put_on(wearer, source, attribute, rig)
    mine = in_place(wearer, attribute.part, rig)
    theirs = source.albedo[source.parts == attribute.part][0]
    assert len(worn) == len(wearer) and int(mine.sum()) > 20
    torch.testing.assert_close(worn.albedo[mine], theirs.expand(int(mine.sum()), 3), atol=0.01, rtol=0)
    assert torch.equal(worn.albedo[~mine], wearer.albedo[~mine])
    assert torch.equal(worn.shape, wearer.shape)


def test_detail_finer_than_what_is_borrowed_stays() -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    mine = in_place(wearer, Part.MOUTH, rig)
    speckled = 1 + 0.1 * torch.randn(len(wearer), 1, generator=torch.Generator().manual_seed(0))
    albedo = torch.where(mine[:, None], wearer.albedo * speckled, wearer.albedo)
    plain, fine = (
        tint(one, source, Attribute.MOUTH, rig).albedo[mine] for one in (wearer, replace(wearer, albedo=albedo))
    )
    kept = torch.corrcoef(torch.stack([(fine / plain).mean(1), speckled[mine, 0]]))[0, 1]
    assert float(kept) > 0.9


def test_a_speck_of_eye_on_a_cheek_is_not_coloured() -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    eyes = wearer.places(rig)[wearer.parts == Part.EYES]
    skin = (wearer.parts == Part.SKIN).nonzero()[:, 0]
    away = torch.cdist(wearer.places(rig)[skin], eyes).amin(1)
    speck = int(skin[away > 3 * MAX_DISTANCE_FROM_PART_METRES][0])
    worn = put_on(_labelled(wearer, speck, Part.EYES), source, Attribute.EYES, rig)
    assert torch.equal(worn.albedo[speck], wearer.albedo[speck])


def test_form_needs_axes_that_say_whose_they_are_and_a_feature_to_form() -> None:
    rig, wearer = load_rig(), painted_avatar()
    imported = replace(rig, shape_names=tuple(f"shape/{index}" for index in range(len(rig.shape_names))))
    eyeless = wearer.select(wearer.parts != Part.EYES)
    assert can_form(wearer, Attribute.EYES, rig)
    assert not can_form(wearer, Attribute.EYES, imported)
    assert not can_form(eyeless, Attribute.EYES, rig)
    assert not can_form(wearer, Attribute.HAIR, rig)
    eyes = wearer.parts == Part.EYES
    astray = replace(wearer, offsets=wearer.offsets + eyes[:, None] * torch.tensor([0.0, 0.1, 0.0]))
    assert not can_form(astray, Attribute.EYES, rig), "what passes for eyes is on the forehead"


def test_every_code_of_a_feature_colours_the_same_points() -> None:
    rig, wearer, source = load_rig(), painted_avatar(), painted_avatar(1)
    generative = initialise_generative(wearer, {Attribute.MOUTH: [("anna", source)]}, rig, code_size=4)
    block = generative.blocks[Attribute.MOUTH]
    own, theirs = (block.decode(block.code(name)) for name in ("own", "anna"))
    mine = wearer.parts == Part.MOUTH
    torch.testing.assert_close(own.albedo, wearer.albedo[mine], atol=1e-4, rtol=0)
    torch.testing.assert_close(own.offsets, theirs.offsets, atol=1e-5, rtol=0)
    lips = source.albedo[source.parts == Part.MOUTH][0]
    assert float((theirs.albedo - lips).norm(dim=1).median()) < 0.02
    half = block.decode(mix(block.code("own"), block.code("anna"), 0.5))
    torch.testing.assert_close(half.albedo, (own.albedo + theirs.albedo) / 2, atol=1e-4, rtol=0)


def test_a_lender_whose_eyes_are_never_seen_leaves_the_colours_alone() -> None:
    rig, wearer = load_rig(), painted_avatar()
    blind = painted_avatar(1).select(painted_avatar(1).parts != Part.EYES)
    generative = initialise_generative(wearer, {Attribute.EYES: [("anna", blind)]}, rig, code_size=4)
    block = generative.blocks[Attribute.EYES]
    torch.testing.assert_close(block.decode(block.code("anna")).albedo, block.decode(block.code("own")).albedo)
