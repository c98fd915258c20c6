"""The swap examination scores the truth best and no change as no change, and counts the pixels changed outside the part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pegasus_ray.evaluate.exam import Exam, ExamConfig
from pegasus_ray.evaluate.swap import bald_person, score_swap
from pegasus_ray.library.swaps import Swap
from pegasus_ray.library.track import Track
from pegasus_ray.schemas.parts import Attribute, Label
from pegasus_ray.stages.config import preset
from pegasus_ray.stages.judge import JudgeConfig
from pegasus_ray.stages.swap import SwapConfig, Swapper
from pegasus_ray.studio.person import HairStyle
from tests.painted import painted_avatar, painted_track

FRAMES = (2, 5)


@pytest.fixture(scope="module")
def nose() -> tuple[Track, Swap, np.ndarray, Track]:
    """A target, a swap, a plain paste, and as the truth a target whose nose is painted blue."""
    config = SwapConfig(judge=JudgeConfig(parser="none", identity="none"))
    swapper = Swapper(painted_track(), painted_avatar(), painted_avatar(1), Attribute.NOSE, config)
    own = painted_track().select(FRAMES)
    images = own.images.copy()
    images[own.parts == Label.NOSE] = (20, 40, 220)
    return own, swapper(FRAMES), swapper.paste(FRAMES), replace(own, images=images)


def test_the_truth_scores_best_and_no_change_scores_as_unchanged(nose: tuple[Track, Swap, np.ndarray, Track]) -> None:
    own, made, pasted, truth = nose
    for row in score_swap(own, replace(made, images=truth.on_white()), pasted, truth, Attribute.NOSE):
        assert row["part"] == row["head"] == 99 and row["outside"] == 0 and row["paste"] < 99
    for row in score_swap(own, replace(made, images=own.on_white()), pasted, truth, Attribute.NOSE):
        assert row["part"] == row["unchanged"] < 20


def test_the_swap_leaves_the_rest_alone_and_a_change_there_is_counted(
    nose: tuple[Track, Swap, np.ndarray, Track],
) -> None:
    own, made, pasted, truth = nose
    assert [row["outside"] for row in score_swap(own, made, pasted, truth, Attribute.NOSE)] == [0, 0]
    spoilt = made.images.copy()
    spoilt[:, :3, :2] = 7
    rows = score_swap(own, replace(made, images=spoilt), pasted, truth, Attribute.NOSE)
    assert [row["outside"] for row in rows] == [6, 6]


def test_the_examined_have_hair_of_their_own_and_wear_a_hat_only_to_lend_it() -> None:
    exam = Exam.of(ExamConfig(size=32, frames=10), preset("draft"))
    everyone = (*exam.targets, *exam.sources)
    assert len({someone.name for someone in everyone}) == 4
    assert all(someone.hat is None and someone.hair.style is not HairStyle.BALD for someone in everyone)
    source = exam.sources[0]
    assert exam.lender(source, Attribute.HAT).hat is not None and exam.lender(source, Attribute.NOSE) == source
    assert bald_person(source).hair.style is HairStyle.BALD and bald_person(source).shape == source.shape
