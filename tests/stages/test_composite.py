"""Compositing: outside of the parts concerned a frame is untouched, bit for bit; inside, holes are closed and colours meet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pegasus_ray.schemas.parts import Attribute, Label
from pegasus_ray.stages.composite import (
    Blend,
    Layer,
    LentPart,
    blend_part,
    close_holes,
    fill_colours,
    gradient_length,
    own_part,
    pressed_hair,
    tidy_share,
    without_feature,
    without_hair,
)

SIDE = 64
RED = np.array([0.8, 0.2, 0.1], np.float32)


def _disc(centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - centre[0], x - centre[1]) < radius


def _lent(mask: np.ndarray, colour: np.ndarray = RED) -> LentPart:
    share = mask.astype(np.float32)
    colours = share[..., None] * colour
    return LentPart(colours=colours, share=share, whole=Layer(image=colours + 1 - share[..., None], alpha=share))


def _grey() -> np.ndarray:
    ramp = np.linspace(0.4, 0.6, SIDE, dtype=np.float32)
    return np.repeat(np.repeat(ramp[None, :, None], SIDE, 0), 3, 2)


@pytest.mark.parametrize("blend", list(Blend))
def test_far_from_the_part_the_frame_is_untouched(blend: Blend) -> None:
    base, matte = _grey(), np.ones((SIDE, SIDE), np.float32)
    result = blend_part(base, matte, _lent(_disc((32, 32), 8)), blend)
    far = ~_disc((32, 32), 14)
    assert np.array_equal(result.image[far], base[far])
    assert not np.allclose(result.image[32, 32], base[32, 32], atol=1e-3)
    assert (result.matte >= matte).all() and result.part[32, 32] > 0.9


def test_alpha_blending_shows_the_part_s_own_colour() -> None:
    result = blend_part(_grey(), np.ones((SIDE, SIDE), np.float32), _lent(_disc((32, 32), 10)), Blend.ALPHA)
    np.testing.assert_allclose(result.image[32, 32], RED, atol=1e-3)
    assert result.coverage > 0.95 and 0 <= result.seam <= 1


def test_poisson_takes_the_target_s_tone() -> None:
    bright = _lent(_disc((32, 32), 10), np.full(3, 0.9, np.float32))
    around = Layer(image=np.full((SIDE, SIDE, 3), 0.9, np.float32), alpha=np.ones((SIDE, SIDE), np.float32))
    bright = replace(bright, whole=around)
    result = blend_part(_grey(), np.ones((SIDE, SIDE), np.float32), bright, Blend.POISSON)
    assert abs(float(result.image[32, 32].mean()) - 0.5) < 0.1


def test_pinholes_are_closed_with_the_part_s_colour() -> None:
    mask = _disc((32, 32), 10)
    mask[32, 32] = False
    closed = close_holes(mask.astype(np.float32), radius=0.02)
    assert closed[32, 32] == 1 and (closed >= mask).all()
    lent = _lent(mask)
    np.testing.assert_allclose(fill_colours(lent.colours, lent.share)[32, 32], RED, atol=0.02)


def test_specks_and_haze_are_no_part() -> None:
    share = _disc((20, 20), 8).astype(np.float32)
    share[50, 50] = 1.0
    share[40:44, 5:9] = 0.1
    tidy = tidy_share(share)
    assert tidy[50, 50] == 0 and tidy[41, 6] == 0 and tidy[20, 20] == 1
    assert not tidy_share(np.zeros((SIDE, SIDE), np.float32)).any()


def test_nothing_lent_changes_nothing() -> None:
    base = _grey()
    for blend in Blend:
        result = blend_part(base, np.ones((SIDE, SIDE), np.float32), _lent(np.zeros((SIDE, SIDE), bool)), blend)
        assert np.array_equal(result.image, base) and result.coverage == 0


def test_a_feature_is_inpainted_from_the_skin_around_it() -> None:
    image = _grey()
    labels = np.full((SIDE, SIDE), Label.SKIN, np.uint8)
    nose = _disc((32, 32), 5)
    labels[nose] = Label.NOSE
    image[nose] = RED
    clean = without_feature(image, np.ones((SIDE, SIDE), np.float32), labels, Attribute.NOSE)
    assert np.abs(clean[nose] - _grey()[nose]).max() < 0.1
    away = ~own_part(labels, Attribute.NOSE)
    assert np.abs(clean[away] - image[away]).max() <= 1 / 255


def test_hair_gives_way_to_the_bald_render_and_the_rest_stays() -> None:
    image = _grey()
    labels = np.full((SIDE, SIDE), Label.SKIN, np.uint8)
    labels[:10] = Label.HAIR
    bald = Layer(image=np.ones((SIDE, SIDE, 3), np.float32), alpha=np.zeros((SIDE, SIDE), np.float32))
    gone = own_part(labels, Attribute.HAIR, grow=0.03)
    result, matte = without_hair(image, np.ones((SIDE, SIDE), np.float32), gone, bald)
    np.testing.assert_allclose(result[4], 1, atol=1e-3)
    assert matte[4].max() < 1e-3
    assert np.array_equal(result[20:], image[20:]) and (matte[20:] == 1).all()


def test_a_hat_takes_away_the_hair_that_it_presses_flat_and_no_other() -> None:
    labels = np.full((SIDE, SIDE), Label.SKIN, np.uint8)
    labels[:20] = Label.HAIR
    left = np.zeros((SIDE, SIDE), np.float32)
    left[12:] = 1.0  # the lower hair is still there under the hat
    gone = pressed_hair(labels, left, np.ones((SIDE, SIDE), np.float32))
    assert gone[:11].all() and not gone[12:].any()


def test_hair_that_hangs_below_a_hat_stays() -> None:
    labels, hat = np.full((SIDE, SIDE), Label.HAIR, np.uint8), np.zeros((SIDE, SIDE), np.float32)
    hat[:16] = 1.0
    gone = pressed_hair(labels, np.zeros((SIDE, SIDE), np.float32), hat)
    assert gone[:16].all() and not gone[16:].any()


def test_hair_that_stands_off_beside_a_hat_goes_and_a_fringe_under_its_rim_stays() -> None:
    labels, hat = np.full((SIDE, SIDE), Label.HAIR, np.uint8), np.zeros((SIDE, SIDE), np.float32)
    hat[8:16, 20:44] = 1.0
    hat[16:24, 20:24] = hat[16:24, 40:44] = 1.0  # flaps
    gone = pressed_hair(labels, np.zeros((SIDE, SIDE), np.float32), hat)
    assert gone[:24, :20].all() and gone[:24, 44:].all(), "the halo of hair beside the hat"
    assert gone[:16, 24:40].all() and not gone[16:, 24:40].any(), "the fringe between the flaps"


def test_what_mixes_into_a_hat_does_not_let_the_frame_through() -> None:
    base, matte, mask = _grey(), np.ones((SIDE, SIDE), np.float32), _disc((32, 32), 10)
    lent = replace(_lent(mask), share=0.7 * mask.astype(np.float32), colours=0.7 * mask[..., None] * RED)
    solid, alpha = (blend_part(base, matte, lent, blend).image[32, 32] for blend in (Blend.SOLID, Blend.ALPHA))
    np.testing.assert_allclose(solid, RED, atol=1e-3)
    assert np.abs(alpha - RED).max() > 0.05


def test_a_part_of_another_colour_is_redrawn_and_the_skin_around_it_only_moved() -> None:
    base, matte, part = _grey(), np.ones((SIDE, SIDE), np.float32), _disc((32, 32), 6)
    bare = np.full((SIDE, SIDE, 3), 0.4, np.float32)
    whole = np.where(part[..., None], RED, bare + np.float32(0.05)).astype(np.float32)
    own = _disc((32, 34), 6).astype(np.float32)
    lent = replace(_lent(part), whole=Layer(image=whole, alpha=matte), bare=Layer(image=bare, alpha=matte), own=own)
    image = blend_part(base, matte, lent, Blend.REDRAWN).image
    np.testing.assert_allclose(image[32, 32], RED, atol=1e-3)
    np.testing.assert_allclose(image[32, 40], whole[32, 40], atol=0.05)  # where the old part was
    beside = np.array([image[32, column] - base[32, column] for column in range(42, 44)])
    assert np.abs(beside).max() <= 0.05 + 1e-5, "moved by no more than the renders differ"
    far = ~_disc((32, 33), 14)
    assert np.array_equal(image[far], base[far])


@pytest.mark.parametrize("darker", [False, True])
def test_borrowed_hairs_keep_their_colour_and_the_skin_between_them_stays_the_targets(darker: bool) -> None:
    pale, dark, hair = (np.array(c, np.float32) for c in ((0.9, 0.7, 0.6), (0.5, 0.35, 0.3), (0.1, 0.05, 0.05)))
    lender, wearer = (pale, dark) if darker else (dark, pale)
    part = np.zeros((SIDE, SIDE), np.float32)
    part[28:36, 16:48] = 1.0
    strands = part > 0
    strands[:, ::4] = False  # gaps of skin
    lent_image = np.where(strands[..., None], hair, lender).astype(np.float32)
    whole = Layer(image=lent_image, alpha=np.ones_like(part))
    lent = LentPart(colours=lent_image * part[..., None], share=part, whole=whole)
    base = np.broadcast_to(wearer, (SIDE, SIDE, 3)).astype(np.float32)
    image = blend_part(base, np.ones((SIDE, SIDE), np.float32), lent, Blend.STRANDS).image
    np.testing.assert_allclose(image[32, 20], wearer, atol=0.03)
    np.testing.assert_allclose(image[32, 21], hair * np.sqrt(wearer / lender), atol=0.03)


def test_a_new_form_changes_the_frame_by_what_it_changes_in_the_render_and_nothing_else() -> None:
    base, matte = _grey(), np.ones((SIDE, SIDE), np.float32)
    part = _disc((32, 32), 6)
    bare = np.full((SIDE, SIDE, 3), 0.4, np.float32)  # a poor render of the person: its own error is not to show
    whole = np.where(part[..., None], bare + np.float32(0.1), bare)
    lent = replace(_lent(part), whole=Layer(image=whole, alpha=matte), bare=Layer(image=bare, alpha=matte))
    result = blend_part(base, matte, lent, Blend.FORM)
    np.testing.assert_allclose(result.image[part], base[part] + 0.1, atol=1e-5)
    assert np.array_equal(result.image[~part], base[~part])


def test_strands_that_pass_for_skin_are_put_on_with_the_hair_beside_them() -> None:
    skin, dark = (np.array(c, np.float32) for c in ((0.8, 0.6, 0.5), (0.1, 0.08, 0.07)))
    hair = np.zeros((SIDE, SIDE), bool)
    hair[:20] = True
    strand = np.zeros_like(hair)
    strand[20:22, 30:34] = True
    bare = np.broadcast_to(skin, (SIDE, SIDE, 3)).astype(np.float32)
    whole = np.where((hair | strand)[..., None], dark, bare).astype(np.float32)
    matte = np.ones((SIDE, SIDE), np.float32)
    lent = LentPart(
        colours=whole * hair[..., None],
        share=hair.astype(np.float32),
        whole=Layer(image=whole, alpha=matte),
        bare=Layer(image=bare, alpha=matte),
    )
    pale = np.full((SIDE, SIDE, 3), 0.9, np.float32)
    result = blend_part(pale, matte, lent, Blend.ALPHA)
    assert float(result.image[20, 31].mean()) < 0.6 and result.part[20, 31] > 0.4
    np.testing.assert_allclose(result.image[21, 10], 0.9, atol=0.02)
    assert np.array_equal(result.image[30:], pale[30:])


def test_a_gradient_does_not_depend_on_where_it_is_put() -> None:
    random = np.random.default_rng(0)
    picture, found = random.random((128, 128, 3)).astype(np.float32), set()
    for _ in range(300):
        held = [np.empty(int(random.integers(1, 5000)), np.uint8) for _ in range(5)]  # moves what is allocated next
        found.add(gradient_length(picture).tobytes())
        del held
    assert len(found) == 1, "equal frames have to get equal scores"
