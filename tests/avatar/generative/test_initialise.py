"""Before any training each code reproduces its source, and changes its own attribute alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pegasus_ray.avatar.borrow.parts import lend
from pegasus_ray.avatar.files.generative import dump_generative, generative_tensors, load_generative
from pegasus_ray.avatar.generative.avatar import OWN, mix
from pegasus_ray.avatar.generative.initialise import initialise_generative
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.parts import Attribute, Part
from tests.avatar.generative.two_sources import picture, two_sources
from tests.painted import painted_avatar

HAIR, NOSE, HAT = Attribute.HAIR, Attribute.NOSE, Attribute.HAT


def test_a_hat_presses_hair_flat_and_no_hat_does_not() -> None:
    rig, wearer = load_rig(), painted_avatar(3)
    hair = wearer.parts == Part.HAIR
    logits = wearer.part_logits.clone()
    logits[hair] = 4.0 * torch.nn.functional.one_hot(torch.tensor(int(Part.HAT)), len(Part)).float()
    hatted = replace(wearer, part_logits=logits, offsets=wearer.offsets * 1.1)
    generative = initialise_generative(
        wearer, {HAIR: [("anna", painted_avatar(1))], HAT: [("hat", hatted)]}, rig, code_size=4
    )
    own = generative.decode(generative.codes(), rig)
    worn = generative.decode(generative.codes({HAT: generative.blocks[HAT].code("hat")}), rig)
    start, end = generative.membership()[HAIR]
    fell = (own.opacity_logits - worn.opacity_logits)[start:end]
    assert float(generative.pressed(own, rig).sum()) == 0
    assert float((fell > 4).float().mean()) > 0.2
    shrank = (own.log_radii - worn.log_radii)[start:end]
    assert bool((shrank[fell > 4] > 3).all()), "or they would take the hat's place among a pixel's nearest points"
    assert torch.equal(own.opacity_logits[:start], worn.opacity_logits[:start]), "only hair is pressed"


def test_codes_reproduce_their_sources_before_any_training() -> None:
    rig, generative = load_rig(), two_sources()
    own = generative.decode(generative.codes(), rig)
    difference = (picture(own) - picture(painted_avatar())).abs().mean()
    assert float(difference) < 0.02
    for index, (name, source) in enumerate((("anna", painted_avatar(1)), ("bert", painted_avatar(2)))):
        block = generative.blocks[HAIR]
        points = block.decode(block.code(name))
        hair = source.select(source.parts == Part.HAIR)
        assert torch.allclose(points.albedo.mean(0), hair.albedo.mean(0), atol=0.02), index
        there = (points.anchors(rig).positions + points.offsets).mean(0)
        assert torch.allclose(there, (hair.anchors(rig, own.shape).positions + hair.offsets).mean(0), atol=0.004)


def test_points_that_a_poorer_source_has_no_use_for_take_no_place() -> None:
    rig = load_rig()
    poor = painted_avatar(1)
    hair = poor.parts == Part.HAIR
    poor = poor.select(~hair | (torch.arange(len(poor)) % 2 == 0))
    block = initialise_generative(painted_avatar(), {HAIR: [("poor", poor)]}, rig, code_size=4).blocks[HAIR]
    worn = block.decode(block.code("poor"))
    sizes, left = worn.log_radii.sort().values, len(lend(poor, HAIR, rig))
    assert len(worn) > left
    assert torch.allclose(sizes[-left:], lend(poor, HAIR, rig).log_radii.sort().values, atol=1e-4), (
        "each point is there once"
    )
    assert bool((sizes[:-left] < sizes[-left]).all()), "and what is left over is smaller"


def test_borrowed_brows_move_as_the_face_that_wears_them() -> None:
    rig, target, source = load_rig(), painted_avatar(), painted_avatar(1, points=14000)
    brows = target.parts == Part.EYEBROWS
    moving = torch.randn(target.position_basis.shape, generator=torch.Generator().manual_seed(0))
    target = target.with_tensors({"position_basis": moving})
    block = initialise_generative(target, {Attribute.EYEBROWS: [("anna", source)]}, rig, code_size=4).blocks[
        Attribute.EYEBROWS
    ]
    assert len(block.points) > int(brows.sum()), (
        "the source has more points, whose own motion would tear the target's brows"
    )
    own = block.decode(block.codes[0])
    near = torch.cdist(target.places(rig)[brows], own.places(rig)).argmin(1)
    assert torch.allclose(own.position_basis[:, near], target.position_basis[:, brows], atol=1e-5)


def test_one_code_changes_one_attribute() -> None:
    rig, generative = load_rig(), two_sources()
    changed = generative.decode(generative.codes({HAIR: generative.blocks[HAIR].code("anna")}), rig)
    own = generative.decode(generative.codes(), rig)
    start, end = generative.membership()[HAIR]
    outside = torch.ones(len(own), dtype=torch.bool)
    outside[start:end] = False
    assert torch.equal(changed.offsets[outside], own.offsets[outside])
    assert torch.equal(changed.shape, own.shape)
    assert not torch.allclose(changed.albedo[start:end], own.albedo[start:end])


def test_a_mixture_lies_between() -> None:
    generative, rig = two_sources(), load_rig()
    block = generative.blocks[HAIR]
    ends = [block.code("anna"), block.code("bert")]
    albedo = [generative.decode(generative.codes({HAIR: mix(*ends, share)}), rig).albedo for share in (0, 0.5, 1)]
    torch.testing.assert_close(albedo[1], (albedo[0] + albedo[2]) / 2, atol=1e-4, rtol=0)


def test_the_shape_follows_the_nose_s_code() -> None:
    generative, rig = two_sources(), load_rig()
    axes = rig.axes_of(NOSE)
    worn = generative.decode(generative.codes({NOSE: generative.blocks[NOSE].code("anna")}), rig)
    torch.testing.assert_close(worn.shape[axes], painted_avatar(1).shape[axes], atol=1e-4, rtol=0)
    torch.testing.assert_close(worn.shape[~axes], painted_avatar().shape[~axes])


def test_an_unknown_code_is_named_with_those_there_are() -> None:
    with pytest.raises(PegasusError) as caught:
        two_sources().blocks[HAIR].code("carl")
    assert "anna" in caught.value.message and OWN in caught.value.message


def test_a_generative_avatar_survives_its_files() -> None:
    files = dump_generative(two_sources())
    loaded, config = load_generative(files)
    assert config.blocks["hair"].sources == (OWN, "anna", "bert")
    for name, value in generative_tensors(two_sources()).items():
        assert torch.equal(generative_tensors(loaded)[name], value), name
    with pytest.raises(PegasusError):
        load_generative(files | {"avatar.safetensors": files["avatar.safetensors"][:-100]})
