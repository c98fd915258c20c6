"""What hair hid is completed as skin, neck or cloth; skin that was seen stays."""

from __future__ import annotations

from dataclasses import replace

import torch

from pegasus_ray.avatar.borrow.complete_scalp import UNDER_HAIR_METRES, bald, clear_skin, complete_scalp
from pegasus_ray.avatar.borrow.skin_light import albedo_under, skin_light
from pegasus_ray.avatar.points.avatar import join_group
from pegasus_ray.avatar.points.neighbours import distance_to
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Part
from tests.painted import painted_avatar


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
