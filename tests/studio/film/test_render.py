"""The truth of a studio video is exact: parts fit the matte, landmarks the face, and a swapped part changes nothing else."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from pegasus_ray.library.track import Track
from pegasus_ray.schemas.parts import Attribute, Label, labels_of
from pegasus_ray.studio.counterfactual import swap_attribute
from pegasus_ray.studio.figure.assemble import Figure
from pegasus_ray.studio.figure.piece import Material
from pegasus_ray.studio.figure.skull import Skull
from pegasus_ray.studio.film.frame import Frame
from pegasus_ray.studio.film.render import render_frames, render_pool, render_track, restore_wall
from pegasus_ray.studio.identity import studio_rig
from pegasus_ray.studio.motion import pose_stills
from pegasus_ray.studio.person import Glasses, GlassesStyle, Hair, HairStyle, Hat, HatStyle, Person
from pegasus_ray.studio.sampling import sample_person

SIZE = 80
DETAIL = 0.12
FACE = [Label.SKIN, Label.NOSE, Label.LIP_UPPER, Label.LIP_LOWER, Label.MOUTH]
FACE += [Label.EYE_LEFT, Label.EYE_RIGHT, Label.BROW_LEFT, Label.BROW_RIGHT, Label.NECK]
IRIS_LANDMARKS = (468, 473)


def hair(style: HairStyle) -> Hair:
    return Hair(style=style, colour=(0.3, 0.2, 0.1), seed=1)


def filmed(who: Person, poses: tuple[tuple[float, float, float], ...] = ((0, 0, 0),)) -> Track:
    return render_track(who, pose_stills([{"jawOpen": 0.25}] * len(poses), list(poses)), size=SIZE, detail=DETAIL)


@pytest.fixture(scope="module")
def bob() -> Track:
    return filmed(sample_person(5, hair=hair(HairStyle.BOB)), ((0, 0, 0), (6, 35, 5)))


def test_the_same_arguments_give_the_same_bits(bob: Track) -> None:
    again = filmed(sample_person(5, hair=hair(HairStyle.BOB)), ((0, 0, 0), (6, 35, 5)))
    for field in fields(Track):
        assert np.array_equal(getattr(bob, field.name), getattr(again, field.name)), field.name
    assert not np.array_equal(bob.images[0], filmed(sample_person(6, hair=hair(HairStyle.BOB))).images[0])


def test_parts_fit_the_matte(bob: Track) -> None:
    assert np.array_equal(bob.parts == Label.BACKGROUND, bob.mattes <= 127)
    assert 0.3 < (bob.mattes == 255).mean() < 0.9
    frontal = set(np.unique(bob.parts[0]))
    expected = {Label.SKIN, Label.NOSE, Label.EYE_LEFT, Label.EYE_RIGHT, Label.HAIR, Label.CLOTH, Label.MOUTH}
    assert expected | {Label.BROW_LEFT, Label.BROW_RIGHT, Label.LIP_UPPER, Label.LIP_LOWER, Label.NECK} <= frontal


def test_left_and_right_are_the_pictures(bob: Track) -> None:
    for left, right in ((Label.EYE_LEFT, Label.EYE_RIGHT), (Label.BROW_LEFT, Label.BROW_RIGHT)):
        assert np.nonzero(bob.parts[0] == left)[1].mean() < np.nonzero(bob.parts[0] == right)[1].mean()


def test_landmarks_lie_on_the_face(bob: Track) -> None:
    known = studio_rig().landmarks.weights.numpy() > 0
    assert known.sum() > 400
    places = bob.landmarks[:, known]
    assert places.min() > 0
    assert places.max() < 1
    pixels = np.floor(places[0] * SIZE).astype(int)
    under = bob.parts[0, pixels[:, 1], pixels[:, 0]]
    assert np.isin(under, FACE).mean() > 0.93
    eyes = np.floor(bob.landmarks[0, IRIS_LANDMARKS] * SIZE).astype(int)
    assert list(bob.parts[0, eyes[:, 1], eyes[:, 0]]) == [Label.EYE_LEFT, Label.EYE_RIGHT]


@pytest.mark.parametrize("attribute", [Attribute.NOSE, Attribute.EYEBROWS])
def test_a_swapped_part_changes_nothing_else(attribute: Attribute) -> None:
    target = sample_person(5, hair=hair(HairStyle.BALD), noise=0.0)
    swapped = swap_attribute(target, attribute, sample_person(12))
    before, after = filmed(target), filmed(swapped)
    changed = np.abs(before.images[0].astype(int) - after.images[0]).max(-1) > 12
    part = np.isin(before.parts[0], labels_of(attribute.part)) | np.isin(after.parts[0], labels_of(attribute.part))
    near = cv2.dilate(part.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    assert changed[part].any()
    assert (changed & ~near).sum() <= 0.05 * changed.sum()


def test_a_hair_swap_leaves_the_mouth_to_the_bit() -> None:
    """Hair throws shadows on the skin around it, so skin may change there. Below the nose nothing may."""
    target = replace(sample_person(5, hair=hair(HairStyle.SHORT)), hat=None, glasses=None)
    before = filmed(target)
    after = filmed(swap_attribute(target, Attribute.HAIR, sample_person(5, hair=hair(HairStyle.SIDE_PART))))
    mouth = np.isin(before.parts[0], labels_of(Attribute.MOUTH.part))
    assert mouth.sum() > 30
    assert not np.array_equal(before.images, after.images)
    assert np.array_equal(before.images[0][mouth], after.images[0][mouth])
    assert np.array_equal(before.parts[0][mouth], after.parts[0][mouth])
    assert np.array_equal(before.landmarks, after.landmarks)


def frames_of(seed: int) -> list[Frame]:
    who = sample_person(seed, hair=hair(HairStyle.BALD))
    return list(render_frames(who, pose_stills([{}] * 2, [(0, -20, 0), (0, 20, 0)]), size=SIZE, detail=DETAIL))


def test_another_process_renders_the_same_bits() -> None:
    with render_pool(1) as pool:
        elsewhere = pool.submit(frames_of, 5)
        for one, other in zip(frames_of(5), elsewhere.result(), strict=True):
            for field in fields(Frame):
                assert np.array_equal(getattr(one, field.name), getattr(other, field.name)), field.name


@pytest.mark.parametrize("style", list(GlassesStyle))
def test_glasses_have_a_frame_of_their_own_and_show_the_eyes(style: GlassesStyle) -> None:
    """The frame lies on the face, eyes behind the lenses keep their label, and lenses throw no shadow."""
    who = sample_person(9, hair=hair(HairStyle.BALD), noise=0.0, beard=None)
    bare = render_track(who, pose_stills([{}], [(0, 0, 0)]), size=2 * SIZE, detail=DETAIL)
    worn = replace(who, glasses=Glasses(style=style, colour=(0.1, 0.1, 0.1)))
    seen = render_track(worn, pose_stills([{}], [(0, 0, 0)]), size=2 * SIZE, detail=DETAIL)
    assert (bare.parts != Label.GLASSES).all()
    frame = seen.parts[0] == Label.GLASSES
    assert frame.sum() > 60
    eyes = np.isin(bare.parts[0], (Label.EYE_LEFT, Label.EYE_RIGHT))
    assert (seen.parts[0] == bare.parts[0])[eyes].mean() > 0.8
    skin = (bare.parts[0] == Label.SKIN) & (seen.parts[0] == Label.SKIN)
    darker = bare.images[0].astype(int).sum(-1) - seen.images[0].astype(int).sum(-1)
    assert np.median(darker[skin]) == 0


@pytest.mark.parametrize("style", [style for style in HairStyle if style is not HairStyle.FRINGE])
def test_hair_leaves_the_eyes_free_and_does_not_pass_through_the_head(style: HairStyle) -> None:
    who = sample_person(9, hair=hair(style), noise=0.0, hat=None, glasses=None)
    track = filmed(who)
    eyes = np.floor(track.landmarks[0, IRIS_LANDMARKS] * SIZE).astype(int)
    assert list(track.parts[0, eyes[:, 1], eyes[:, 0]]) == [Label.EYE_LEFT, Label.EYE_RIGHT]
    grown = [piece for piece in Figure.of(who, detail=DETAIL).pieces if piece.material is Material.HAIR]
    assert bool(grown) == (style is not HairStyle.BALD)
    assert ((track.parts == Label.HAIR).sum() > 120) == bool(grown)
    for piece in grown:
        figure = Figure.of(who, detail=DETAIL)
        skull = Skull.of(studio_rig(), figure.neutral[: len(studio_rig().template)])
        depth, _ = skull.distance(piece.points)
        assert (depth < -0.003).mean() < 0.01
        assert np.allclose(piece.weights.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("style", list(HatStyle))
def test_a_hat_covers_the_hair_and_not_the_eyes(style: HatStyle) -> None:
    who = sample_person(9, hair=hair(HairStyle.CURLY), noise=0.0, hat=None, glasses=None)
    hat = Hat(style=style, colour=(0.2, 0.3, 0.5), accent=(0.7, 0.2, 0.2))
    bare, covered = filmed(who), filmed(replace(who, hat=hat))
    assert (covered.parts == Label.HAT).sum() > 150
    assert (covered.parts == Label.HAIR).sum() < 0.4 * (bare.parts == Label.HAIR).sum()
    eyes = np.floor(covered.landmarks[0, IRIS_LANDMARKS] * SIZE).astype(int)
    assert list(covered.parts[0, eyes[:, 1], eyes[:, 0]]) == [Label.EYE_LEFT, Label.EYE_RIGHT]


def test_the_soft_edge_holds_the_person_s_own_colour() -> None:
    who, motion = sample_person(5, hair=hair(HairStyle.BOB)), pose_stills([{}], [(0, 0, 0)])
    dark, bright = (
        render_track(who, motion, size=SIZE, detail=DETAIL, wall=wall) for wall in ((0.1, 0.1, 0.1), (0.9, 0.9, 0.9))
    )
    assert np.array_equal(dark.mattes, bright.mattes)
    assert np.abs(dark.on_white().astype(int) - bright.on_white()).max() <= 1
    soft = (dark.mattes > 40) & (dark.mattes < 215)
    assert soft.sum() > 50 and np.abs(dark.images[soft].astype(int) - bright.images[soft]).max() <= 1


def test_with_its_wall_restored_a_track_is_as_it_was_filmed() -> None:
    who, motion = sample_person(5, hair=hair(HairStyle.BOB)), pose_stills([{}], [(0, 0, 0)])
    (frame,) = render_frames(who, motion, size=SIZE, detail=DETAIL)
    again = restore_wall(render_track(who, motion, size=SIZE, detail=DETAIL))[0].astype(int)
    assert np.abs(again - frame.image).mean() < 0.5
    assert np.abs(again - frame.image).max() < 50  # strands that take a share of a ray mix in light, not in colours
