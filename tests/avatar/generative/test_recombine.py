"""Borrowed parts and generative avatars: what is not borrowed stays; codes reproduce their sources."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch

from pegasus_ray.avatar.borrow.by_form import IGNORE_METRES
from pegasus_ray.avatar.borrow.complete_scalp import UNDER_HAIR_METRES, bald, clear_skin, complete_scalp
from pegasus_ray.avatar.borrow.parts import lend, members
from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.avatar.borrow.skin_light import albedo_under, skin_light
from pegasus_ray.avatar.files.generative import dump_generative, generative_tensors, load_generative
from pegasus_ray.avatar.fit.loop import FitContext
from pegasus_ray.avatar.generative.avatar import OWN, GenerativeAvatar, mix
from pegasus_ray.avatar.generative.clips import CodedClip
from pegasus_ray.avatar.generative.coded_parameters import GenerativeRates
from pegasus_ray.avatar.generative.fit import GenerativeConfig, fit_generative
from pegasus_ray.avatar.generative.initialise import initialise_generative
from pegasus_ray.avatar.generative.matching import match_points, pair_points
from pegasus_ray.avatar.points.avatar import PER_POINT, Avatar, join_group
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.avatar.points.neighbours import distance_to
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part
from pegasus_ray.stages.personalize import own_clip
from tests.painted import painted_avatar, painted_track, parameters

RATES = GenerativeRates(state=2.0, basis=2.0)
HAIR, NOSE, HAT = Attribute.HAIR, Attribute.NOSE, Attribute.HAT


@cache
def two_sources() -> GenerativeAvatar:
    lenders = {HAIR: [("anna", painted_avatar(1)), ("bert", painted_avatar(2))], NOSE: [("anna", painted_avatar(1))]}
    return initialise_generative(painted_avatar(), lenders, load_rig(), code_size=4)


def _picture(avatar: Avatar, size: int = 64) -> torch.Tensor:
    rig = load_rig()
    with torch.no_grad():
        drive = parameters(3).drive(avatar)
        return render_points(avatar.canonical(avatar.anchors(rig)), rig, drive, size).image


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


def test_a_bald_head_has_skin_where_the_hair_was() -> None:
    rig, avatar = load_rig(), painted_avatar()
    bare = bald(avatar, rig)
    left = int((bare.parts == Part.HAIR).sum())  # specks
    assert left < 0.05 * int((avatar.parts == Part.HAIR).sum())
    scalp = (
        torch.cdist(bare.places(rig), avatar.select(avatar.parts == Part.HAIR).places(rig)).amin(1) < UNDER_HAIR_METRES
    )
    scalp &= bare.parts == Part.SKIN
    assert int(scalp.sum()) > 200
    skin = avatar.albedo[avatar.parts == Part.SKIN][0]
    torch.testing.assert_close(bare.albedo[scalp], skin.expand(int(scalp.sum()), 3), atol=0.02, rtol=0)
    dark = avatar.parts == Part.SKIN  # the scalp under the hair, which passes for skin and has its colour
    dark &= (
        torch.cdist(avatar.places(rig), avatar.select(avatar.parts == Part.HAIR).places(rig)).amin(1)
        < 0.5 * UNDER_HAIR_METRES
    )
    assert bool(dark.any())
    again = bald(replace(avatar, albedo=torch.where(dark[:, None], torch.zeros(3), avatar.albedo)), rig)
    top = (again.parts == Part.SKIN) & (again.places(rig)[:, 1] > 0.07)
    torch.testing.assert_close(again.albedo[top], skin.expand(int(top.sum()), 3), atol=0.1, rtol=0)


def test_where_no_hair_was_nothing_is_completed() -> None:
    rig, avatar = load_rig(), painted_avatar()
    bare = avatar.select(avatar.parts != Part.HAIR)
    assert bald(bare, rig) is not None and len(bald(bare, rig)) == len(bare)


def test_the_light_on_skin_is_told_from_the_skin() -> None:
    rig, avatar = load_rig(), painted_avatar()
    skin = avatar.select(avatar.parts == Part.SKIN)
    normals = skin.anchors(rig).normals
    light = torch.zeros(9, 3)
    light[0], light[2], light[3] = 0.8, -0.3, -0.2  # from above and from the front
    lit = replace(skin, lights=light[None], albedo=torch.full_like(skin.albedo, 0.5))
    found = skin_light(lit, normals)
    torch.testing.assert_close(found, 0.5 * light, atol=0.05, rtol=0)
    faces = normals[:, 2] > 0
    albedo = albedo_under(found, light, normals)[faces]
    torch.testing.assert_close(albedo, torch.full_like(albedo, 0.5), atol=0.03, rtol=0)


def test_skin_under_a_fringe_is_cleared_of_it_and_other_skin_is_not() -> None:
    rig, avatar = load_rig(), painted_avatar()
    part = avatar.parts
    places = avatar.anchors(rig).positions + avatar.offsets
    skin = (part == Part.SKIN) & (places[:, 1] > 0.02) & (places[:, 2] > -0.06)
    stained = replace(avatar, albedo=torch.where(skin[:, None], torch.zeros(3), avatar.albedo))
    fringe = stained.select(skin)
    fringe = replace(fringe, offsets=fringe.offsets + torch.tensor([0.0, 0.0, 0.01]))
    cleared = clear_skin(stained, fringe, rig)
    plain = avatar.albedo[part == Part.SKIN][0]
    torch.testing.assert_close(cleared.albedo[skin], plain.expand(int(skin.sum()), 3), atol=0.05, rtol=0)
    elsewhere = (part != Part.SKIN) | (places[:, 1] < 0.01) | (places[:, 2] < -0.14)
    assert torch.equal(cleared.albedo[elsewhere], stained.albedo[elsewhere])


def test_skin_far_darker_than_the_face_is_a_fringe_s_shade_wherever_the_fringe_is_now() -> None:
    rig, avatar = load_rig(), painted_avatar()
    places, skin = avatar.places(rig), avatar.parts == Part.SKIN
    shaded = skin & (places[:, 1] > 0.02) & (places[:, 0] > 0)
    albedo = torch.where(shaded[:, None], 0.3 * avatar.albedo, avatar.albedo)
    one_strand = avatar.select(((avatar.parts == Part.HAIR) & (places[:, 2] < -0.1)).nonzero()[:1, 0])
    cleared = clear_skin(replace(avatar, albedo=albedo), one_strand, rig)
    assert float((cleared.albedo[shaded] - avatar.albedo[shaded]).abs().max()) < 0.1
    assert torch.equal(cleared.albedo[~shaded], avatar.albedo[~shaded])


def test_skin_in_a_fringe_s_shade_tells_nothing_of_the_light() -> None:
    rig, avatar = load_rig(), painted_avatar()
    places, skin = avatar.places(rig), avatar.parts == Part.SKIN
    brow = skin & (places[:, 1] > 0.0) & (places[:, 1] < 0.03) & (places[:, 2] > -0.06)
    shade = (1 - 20 * places[:, 1:2]).clamp(0.3, 1)  # darker towards the fringe: as if light came from below
    shaded = replace(avatar, albedo=torch.where(brow[:, None], shade * avatar.albedo, avatar.albedo))
    fringe = shaded.select(brow & (places[:, 1] > 0.02))
    fringe = replace(fringe, offsets=fringe.offsets + torch.tensor([0.0, 0.012, 0.015]))
    logits = 4.0 * torch.nn.functional.one_hot(torch.tensor(int(Part.HAIR)), len(Part)).float()
    fringe = replace(fringe, part_logits=logits.expand(len(fringe), -1))
    bare = bald(join_group(shaded, fringe), rig)
    crown = (bare.parts == Part.SKIN) & (bare.places(rig)[:, 1] > 0.08)
    plain = avatar.albedo[skin][0]
    torch.testing.assert_close(bare.albedo[crown].median(0).values, plain, atol=0.05, rtol=0)


def test_what_is_not_there_cannot_be_borrowed() -> None:
    with pytest.raises(PegasusError) as caught:
        put_on(painted_avatar(), painted_avatar(1), HAT, load_rig())
    assert caught.value.reason is Reason.MISSING_ATTRIBUTE and "hat" in caught.value.message


def test_avatars_on_different_rigs_do_not_mix() -> None:
    with pytest.raises(PegasusError) as caught:
        put_on(painted_avatar(), replace(painted_avatar(1), rig="other"), HAIR, load_rig())
    assert caught.value.reason is Reason.BAD_REFERENCE


def test_matching_takes_everybody_and_stays_near() -> None:
    first, second = (
        torch.rand(600, 3, generator=torch.Generator().manual_seed(1)),
        torch.rand(200, 3, generator=torch.Generator().manual_seed(2)),
    )
    matched = match_points(first, second)
    assert set(matched.tolist()) == set(range(200)), "no point of the poorer cloud is lost"
    nearest = torch.cdist(first, second).amin(1).mean()
    assert (first - second[matched]).norm(dim=1).mean() < 1.5 * nearest
    assert torch.equal(match_points(first, first), torch.arange(600))


def test_pairing_is_one_to_one_and_near() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 500, 3, generator=generator)
    paired = pair_points(first, second)
    assert sorted(paired.tolist()) == list(range(500))
    near = (first - second[paired]).norm(dim=1).mean()
    assert near < 0.5 * (first - second).norm(dim=1).mean()
    assert torch.equal(pair_points(first, first), torch.arange(500))


def test_codes_reproduce_their_sources_before_any_training() -> None:
    rig, generative = load_rig(), two_sources()
    own = generative.decode(generative.codes(), rig)
    difference = (_picture(own) - _picture(painted_avatar())).abs().mean()
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


def _clips() -> list[CodedClip]:
    own = own_clip(painted_track(), 6)
    worn = put_on(painted_avatar(), painted_avatar(1), HAIR, load_rig())
    borrowed = (_picture(worn).clamp(0, 1) * 255).round().to(torch.uint8)
    part = torch.zeros(borrowed.shape[:3], dtype=torch.uint8)
    red = borrowed[..., 0]
    borrowed[..., 0] = torch.where(borrowed.amin(-1) < 250, red // 2, red)  # a tint that the codes do not know yet
    clip = CodedClip(images=borrowed, mattes=255 * (borrowed.amin(-1) < 255).to(torch.uint8), parts=part,
                parameters=parameters(3), sources={HAIR: "anna"})  # fmt: skip
    return [own, clip]


def test_training_lowers_the_loss_and_resumes_exactly(tmp_path: Path) -> None:
    config = GenerativeConfig(code_size=4, target_steps=8, swap_steps=32, checkpoint_every=10, rates=RATES)
    start, rig, clips = two_sources(), load_rig(), _clips()
    trained, figures = fit_generative(start, clips, rig, config)
    assert figures["loss_swaps"] > 0 and set(figures) == {"loss_target", "loss_swaps"}
    code = start.blocks[HAIR].code("anna")

    def error(generative: GenerativeAvatar) -> float:
        worn = generative.decode(generative.codes({HAIR: generative.blocks[HAIR].code("anna")}), rig)
        return float((_picture(worn) - clips[1].images.float() / 255).abs().mean())

    assert error(trained) < error(start)
    assert not torch.equal(trained.blocks[HAIR].code("anna"), code)
    checkpoint = tmp_path / "state.safetensors"

    def die(share: float, _text: str) -> None:
        if share > 0.4:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit_generative(start, clips, rig, config, FitContext(progress=die, checkpoint=checkpoint))
    resumed, again = fit_generative(start, clips, rig, config, FitContext(checkpoint=checkpoint))
    assert again == figures and not checkpoint.exists()
    for name, value in generative_tensors(trained).items():
        assert torch.equal(generative_tensors(resumed)[name], value), name


def test_a_neck_that_hair_hid_is_not_made_of_the_cloth_under_it() -> None:
    rig, wearer = load_rig(), painted_avatar(points=30000)
    wearer = wearer.select(wearer.parts != Part.HAIR)
    neck = rig.parts[wearer.triangles] == Part.NECK
    aside = wearer.places(rig)[:, 0].abs() > 0.02
    hair = wearer.select(neck & aside)
    made = complete_scalp(wearer.select(~(neck & aside)), hair, rig)
    made = made.select(torch.arange(len(made)) >= int((~(neck & aside)).sum()))
    on_neck = rig.parts[made.triangles] == Part.NECK
    assert int(on_neck.sum()) > 100
    height, collar = (
        made.places(rig)[:, 1],
        (wearer.select(rig.parts[wearer.triangles] == Part.CLOTH)).places(rig),
    )
    over = on_neck & (height > collar[:, 1].max())
    assert int(over.sum()) > 50
    assert bool((made.select(over).parts != Part.CLOTH).all())


def test_skin_that_was_seen_beside_hair_stays() -> None:
    rig, avatar = load_rig(), painted_avatar(points=20000)
    kept = (avatar.parts != Part.HAIR) | (avatar.roots(rig)[:, 0] > 0.03)  # hair on one side only
    avatar = avatar.select(kept)
    places, normals = avatar.places(rig), avatar.anchors(rig).normals
    chosen = avatar.parts == Part.HAIR
    ahead = (avatar.parts == Part.SKIN) & (normals[:, 2] > 0.31)
    across = torch.cdist(places[ahead, :2], places[chosen, :2]).amin(1)
    seen = places[ahead][across > 0.0065]
    near = distance_to(seen, places[chosen]) < UNDER_HAIR_METRES
    assert int(near.sum()) > 10, "some of it lies beside hair"
    left = complete_scalp(avatar.select(~chosen), avatar.select(chosen), rig).places(rig)
    assert float(distance_to(seen, left).max()) < 1e-6
