"""The generative examination scores the truth best and no change worst, and tells an interpolation from a double exposure."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from pegasus_ray.avatar.generative.fit import GenerativeConfig
from pegasus_ray.evaluate.exam import Exam, ExamConfig
from pegasus_ray.evaluate.generative import CodeScore, interpolation, mean_score, score_edit
from pegasus_ray.evaluate.regions import dilate, parts_of
from pegasus_ray.library.track import Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.manifests import Stage
from pegasus_ray.schemas.parts import Attribute, Label
from pegasus_ray.stages.config import preset
from pegasus_ray.stages.personalize import PersonalizeConfig, personalize_unswapped
from pegasus_ray.stages.render import render_clip
from tests.painted import painted_avatar, painted_track

MOUTH = (Label.MOUTH, Label.LIP_UPPER, Label.LIP_LOWER)


@cache
def blue_mouth() -> tuple[Track, Track]:
    """A person, and the same with a blue mouth."""
    own = painted_track().select([4, 8])
    images = own.images.copy()
    images[np.isin(own.parts, MOUTH)] = (20, 40, 220)
    return own, replace(own, images=images)


def _score(edited: np.ndarray) -> CodeScore:
    own, truth = blue_mouth()
    regions = [dilate(region, 0.03) for region in parts_of(own, truth, Attribute.MOUTH)]
    return score_edit(own.on_white(), edited, own, truth, regions, None)


def test_the_truth_itself_gets_everything_and_no_change_gets_nothing() -> None:
    own, truth = blue_mouth()
    best, none = _score(truth.on_white()), _score(own.on_white())
    assert best.change == pytest.approx(1) and best.exactness == pytest.approx(1)
    assert best.locality == best.locality_truth == pytest.approx(1) and best.psnr_truth == 99
    assert none.change == 0 and none.exactness == 0
    assert none.psnr_truth == none.psnr_unchanged < best.psnr_truth


def test_half_of_the_change_is_half_and_a_change_elsewhere_is_not_local() -> None:
    own, truth = blue_mouth()
    half = ((own.on_white().astype(int) + truth.on_white()) // 2).astype(np.uint8)
    assert _score(half).change == pytest.approx(0.5, abs=0.02)
    elsewhere = truth.on_white().copy()
    elsewhere[:, :8, :8] = 0
    score = _score(elsewhere)
    assert score.change == pytest.approx(1) and score.locality < 0.9 < score.locality_truth
    assert score.exactness < 0.9


def test_a_fade_is_even_and_a_double_exposure_a_jump_is_neither() -> None:
    ends = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.float64)
    shares = np.linspace(0, 1, 9)[:, None, None, None]
    region = np.ones((16, 16), bool)
    fade = (ends[0] * (1 - shares) + ends[1] * shares).round().astype(np.uint8)
    evenness, morph = interpolation(fade, region)
    assert evenness == pytest.approx(1, abs=0.05) and morph == pytest.approx(0, abs=0.02)
    jump = np.where(shares < 0.6, ends[0], ends[1]).astype(np.uint8)
    evenness, morph = interpolation(jump, region)
    assert evenness == pytest.approx(8) and morph == pytest.approx(1, abs=0.02)


def test_a_mean_leaves_out_what_is_not_there() -> None:
    one = _score(blue_mouth()[1].on_white())
    assert one.identity is None and one.evenness is None
    both = mean_score([one, replace(one, identity=0.4, change=0.0)])
    assert both.identity == 0.4 and both.evenness is None and both.change == pytest.approx(0.5)


def test_the_plan_has_every_swap_and_a_model_of_them_all() -> None:
    attributes = (Attribute.HAIR, Attribute.HAT)
    config = ExamConfig(attributes=attributes, size=32, frames=10, targets=1, sources=2, users=1, seed=900)
    exam = Exam.of(config, preset("draft"))
    jobs = exam.plan_models(unswapped=True).jobs
    by_stage: dict[Stage, set[str]] = {}
    for job in jobs:
        by_stage.setdefault(job.stage, set()).add(job.key)
    people = 1 + 2 * 2 + 1  # the target, two sources each with hat and without, a user
    assert {stage: len(keys) for stage, keys in by_stage.items()} == {
        Stage.TRACK: people,
        Stage.FIT: people,
        Stage.SWAP: 4,
        Stage.PERSONALIZE: 2,
    }
    made: set[str] = set()
    for job in jobs:
        assert set(job.needs) <= made, "what a job needs is planned before it"
        made.add(job.key)
    assert exam.users[0] not in (*exam.targets, *exam.sources)


def test_without_synthesis_an_identity_code_shows_the_other_person_whole() -> None:
    brief = PersonalizeConfig(fit=GenerativeConfig(code_size=4, target_steps=1, swap_steps=2), own_frames=3)
    track, rig = painted_track(), load_rig()
    people = {"anna": (painted_track(1), painted_avatar(1))}
    made = personalize_unswapped(track, painted_avatar(), people, brief).avatar
    codes = {attribute: block.code("anna") for attribute, block in made.blocks.items() if "anna" in block.sources}
    anna = made.decode(made.codes(codes), rig, identity=made.identity.code("anna"))
    own = made.decode(made.codes(), rig)
    shown, mine = (next(render_clip(avatar, track, frames=[5])).astype(int) for avatar in (anna, own))
    truth = next(render_clip(painted_avatar(1), track, frames=[5])).astype(int)
    assert np.abs(shown - truth).mean() < 0.5 * np.abs(mine - truth).mean()
