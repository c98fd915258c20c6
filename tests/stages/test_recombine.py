"""The stages on painted people: fit, swap, transfer, render and evaluate as plain functions."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from pegasus_ray.avatar.borrow.parts import has_attribute
from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.avatar.generative.fit import GenerativeConfig
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.evaluate.avatar import evaluate_avatar
from pegasus_ray.library.swaps import Swap
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part
from pegasus_ray.stages.composite import own_part
from pegasus_ray.stages.fit import attributes_shown
from pegasus_ray.stages.judge import JudgeConfig
from pegasus_ray.stages.personalize import PersonalizeConfig, good_frames, personalize
from pegasus_ray.stages.render import render_clip, turn, turntable
from pegasus_ray.stages.swap import SwapConfig, swap, swap_frames
from pegasus_ray.stages.transfer import TransferConfig, dressed, transfer
from tests.painted import painted_avatar, painted_track

CONFIG = SwapConfig(frames=3, batch=2, judge=JudgeConfig(parser="none", identity="none"))


@cache
def hair_swap() -> Swap:
    made = swap(painted_track(), painted_avatar(), painted_avatar(1), Attribute.HAIR, CONFIG)
    return replace(made, target="target", avatar="anna")


def test_a_track_gives_what_it_shows() -> None:
    shown = attributes_shown(painted_track())
    assert Attribute.HAIR in shown and Attribute.MOUTH in shown and Attribute.HAT not in shown
    track = painted_track()
    assert attributes_shown(replace(track, parts=np.zeros_like(track.parts))) == ()


def test_the_true_avatar_scores_high_on_frames_no_fit_has_seen() -> None:
    score, sheet = evaluate_avatar(painted_track(), painted_avatar(), per_pixel=12)
    assert score.psnr > 40 and score.ssim > 0.98 and score.frames == 1
    assert sheet.shape == (128, 64, 3)
    other, _ = evaluate_avatar(painted_track(), painted_avatar(1), per_pixel=12)
    assert other.psnr < score.psnr - 10


def test_swap_frames_leave_the_held_out_alone() -> None:
    track = painted_track()
    assert swap_frames(len(track), SwapConfig(frames=100)) == tuple(range(11))
    assert len(swap_frames(len(track), CONFIG)) == 3


@pytest.mark.parametrize("attribute", [Attribute.NOSE, Attribute.MOUTH, Attribute.EYES])
def test_a_swapped_feature_changes_nothing_far_from_it(attribute: Attribute) -> None:
    track = painted_track()
    made = swap(track, painted_avatar(), painted_avatar(1), attribute, CONFIG)
    for index, frame in enumerate(made.indices):
        near = own_part(np.where(made.part_masks[index] > 0, 10, 0).astype(np.uint8), Attribute.NOSE, grow=0.06)
        near |= own_part(track.parts[frame], attribute, grow=0.06)
        assert np.array_equal(made.images[index][~near], track.on_white()[frame][~near])
        assert not np.array_equal(made.images[index], track.on_white()[frame])


def test_swapped_hair_has_the_lender_s_colour_and_the_target_s_pose() -> None:
    made, lender = hair_swap(), painted_avatar(1)
    colour = lender.albedo[lender.parts == Part.HAIR][0].numpy()
    solid = made.part_masks > 200
    assert solid.mean() > 0.02
    assert np.abs(made.images[solid].mean(0) / 255 - colour).max() < 0.06
    assert np.array_equal(made.head, painted_track().head[made.indices])
    measured = [made.scores[name] for name in ("coverage", "seam", "quality")]
    assert all(((score >= 0) & (score <= 1)).all() for score in measured)
    assert made.target_normals is not None and made.target_normals.shape == made.images.shape


def test_swapping_what_the_avatar_lacks_is_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        swap(painted_track(), painted_avatar(), painted_avatar(1), Attribute.HAT, CONFIG)
    assert caught.value.reason is Reason.MISSING_ATTRIBUTE


def test_personalize_trains_on_good_frames_alone_and_answers_to_codes() -> None:
    brief = PersonalizeConfig(fit=GenerativeConfig(code_size=4, target_steps=2, swap_steps=4), own_frames=3)
    avatars = {"anna": painted_avatar(1)}
    result = personalize(painted_track(), painted_avatar(), [hair_swap()], avatars, brief)
    worn = dressed(result.avatar, {Attribute.HAIR: "anna"})
    assert has_attribute(worn, Attribute.HAIR) and result.figures["clips"] == 2
    poor = replace(hair_swap(), scores={**hair_swap().scores, "quality": np.zeros(3, np.float32)})
    assert len(good_frames(poor, 0.3)) == 0
    with pytest.raises(PegasusError) as caught:
        personalize(painted_track(), painted_avatar(), [poor], avatars, brief)
    assert caught.value.reason is Reason.TOO_FEW_FRAMES
    with pytest.raises(PegasusError) as missing:
        personalize(painted_track(), painted_avatar(), [hair_swap()], {}, brief)
    assert missing.value.subject == "anna"


def test_transfer_is_wearing_one_attribute_after_another() -> None:
    user, source = painted_avatar(2), painted_avatar(1)
    got = transfer(source, user, [Attribute.HAIR, Attribute.NOSE], TransferConfig())
    step = put_on(user, source, Attribute.HAIR, load_rig())
    expected = put_on(step, source, Attribute.NOSE, load_rig())
    assert torch.equal(got.albedo, expected.albedo) and torch.equal(got.shape, expected.shape)


def test_outside_of_the_borrowed_part_the_user_stays_the_same() -> None:
    track, user = painted_track(), painted_avatar()
    worn = transfer(painted_avatar(1), user, [Attribute.MOUTH], TransferConfig())
    before, after = next(render_clip(user, track, frames=[5])), next(render_clip(worn, track, frames=[5]))
    near = own_part(track.parts[5], Attribute.MOUTH, grow=0.08)
    assert np.abs(before[~near].astype(int) - after[~near].astype(int)).max() <= 1
    assert not np.array_equal(before[near], after[near])


def test_a_turn_there_and_back_is_no_turn() -> None:
    rows = Parameters.of(painted_track())
    back = turn(turn(rows, 0.4), -0.4)
    torch.testing.assert_close(back.head, rows.head, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.torso, rows.torso, atol=1e-5, rtol=0)
    assert (turn(rows, 0.4).head - rows.head).abs().max() > 0.1


def test_a_clip_is_rendered_at_the_size_asked_for() -> None:
    frames = list(render_clip(painted_avatar(), painted_track(), frames=[0, 3], size=96, turns=turntable(2)))
    assert [f.shape for f in frames] == [(96, 96, 3)] * 2 and frames[0].dtype == np.uint8
