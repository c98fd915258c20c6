"""The preset `paper`: it learns, is deterministic, resumes exactly, doubles its points, and is baked without much loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.coded_frames import CodedFrames
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates, Resolution
from pegasus_ray.avatar.fit.corrections import TrackingCorrections
from pegasus_ray.avatar.fit.field_learner import FieldLearner
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.avatar.fit.loop import FitContext, Fitted, fit_avatar
from pegasus_ray.avatar.fit.perceptual import EFFICIENTNET, FeatureCache, random_perceptual
from pegasus_ray.avatar.fit.resolution import ResolutionRun
from pegasus_ray.avatar.points.canonical import CanonicalPoints, render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.avatar.points.tensors import avatar_tensors
from pegasus_ray.render.metrics import psnr
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.painted import painted_avatar, painted_track

FIELDS = FieldConfig(
    code=4,
    field_width=48,
    field_depth=3,
    field_skip=2,
    deformer_width=24,
    deformer_depth=2,
    shading_width=24,
    grid_levels=2,
    free_discs=True,
    chunk=1000,
)
CONFIG = FitConfig(
    stages=(Resolution(scale=0.5, steps=20), Resolution(scale=1.0, steps=30, points=1500)),
    budget=PointBudget(surface=1100, hair=400, cloth=40),
    rates=LearningRates(networks=4e-3),
    fields=FIELDS,
    batch=3,
    motion_components=4,
    evidence_frames=4,
    checkpoint_every=10,
    settle_steps=20,
)  # fmt: skip


class _KilledError(Exception):
    """Stands in for a worker's death."""


def _mean_psnr(fitted: Fitted, points: CanonicalPoints) -> float:
    frames = FrameSet.of(painted_track(), 64)
    with torch.no_grad():
        drive = frames.parameters.drive(fitted.avatar)
        drawn = render_points(points, load_rig(), drive, 64).image.clamp(0, 1)
    return float(psnr(drawn, frames.images))


def _networks(fitted: Fitted) -> CanonicalPoints:
    assert fitted.fields is not None
    with torch.no_grad():
        return fitted.fields.canonical(load_rig())


def _baked(fitted: Fitted) -> CanonicalPoints:
    return fitted.avatar.canonical(fitted.avatar.anchors(load_rig()))


def test_fields_learn_the_person_and_are_baked_without_much_loss() -> None:
    short = fit_avatar(painted_track(), load_rig(), replace(CONFIG, stages=(Resolution(scale=0.5, steps=1),)))
    fitted = fit_avatar(painted_track(), load_rig(), CONFIG)
    learned = _mean_psnr(fitted, _networks(fitted))
    assert learned > _mean_psnr(short, _networks(short)) + 1.5
    assert _mean_psnr(fitted, _baked(fitted)) > learned - 1
    assert 600 < len(fitted.avatar) <= 1500


def test_the_same_seed_gives_the_same_bits_and_a_killed_fit_resumes_exactly(tmp_path: Path) -> None:
    config = replace(CONFIG, watch_every=15, fields=replace(FIELDS, subject_stage=True))
    whole = fit_avatar(painted_track(), load_rig(), config)
    checkpoint = tmp_path / "fit.safetensors"

    def die(share: float, _text: str) -> None:
        if share > 0.6:
            raise _KilledError

    with pytest.raises(_KilledError):
        fit_avatar(painted_track(), load_rig(), config, context=FitContext(progress=die, checkpoint=checkpoint))
    assert checkpoint.exists()
    resumed = fit_avatar(painted_track(), load_rig(), config, context=FitContext(checkpoint=checkpoint))
    assert whole.fields is not None and resumed.fields is not None
    states = whole.fields.networks.state_dict(), resumed.fields.networks.state_dict()
    for name, value in states[0].items():
        assert torch.equal(states[1][name], value), name
    for name, value in avatar_tensors(whole.avatar).items():
        assert torch.equal(avatar_tensors(resumed.avatar)[name], value), name


def test_a_fit_stops_when_the_watched_frames_gain_nothing() -> None:
    still = LearningRates(**dict.fromkeys(LearningRates.__dataclass_fields__, 0.0))
    config = replace(CONFIG, rates=still, watch_every=4, patience=2, stages=(Resolution(scale=0.5, steps=40),))
    assert fit_avatar(painted_track(), load_rig(), config).figures["stopped_32"] == 12


def test_without_a_watch_every_frame_is_fitted() -> None:
    frames = FrameSet.of(painted_track(), 32)
    for config, without in ((CONFIG, []), (replace(CONFIG, watch_every=5), [10])):
        learner = FieldLearner.start(painted_avatar(), load_rig(), config, torch.Generator().manual_seed(0))
        run = ResolutionRun(learner, TrackingCorrections(frames.parameters), frames, config, 0)
        assert run.watched.tolist() == without


def test_points_double_and_their_radii_shrink_to_three_quarters() -> None:
    avatar = painted_avatar()
    learner = FieldLearner.start(avatar, load_rig(), CONFIG, torch.Generator().manual_seed(0))
    count, radii = len(avatar), learner.avatar.log_radii.detach().exp()
    keep, pull = torch.ones(count, dtype=torch.bool), torch.zeros(count)
    grown = learner.grow(keep, pull, 3 * count, torch.Generator().manual_seed(1))
    assert len(grown) == 2 * count
    torch.testing.assert_close(grown.log_radii.exp()[:count], 0.75 * radii)
    torch.testing.assert_close(grown.log_radii.exp()[count:].sort().values, 0.75 * radii.sort().values)
    assert torch.equal(grown.offsets[:count], learner.avatar.offsets)
    assert len(learner.grow(keep, pull, 10, torch.Generator())) == count


def test_the_first_discs_leave_no_holes() -> None:
    """Points scattered by area are dense here and sparse there: one radius for all left a sixth of a forehead uncovered."""
    avatar, frames = painted_avatar(points=1500), FrameSet.of(painted_track(), 64)
    learner = FieldLearner.start(avatar, load_rig(), CONFIG, torch.Generator().manual_seed(0))
    with torch.no_grad():
        drive = frames.drive(avatar, torch.tensor([0, 6, 11]))
        drawn = render_points(learner.canonical({}), load_rig(), drive, 64)
    inside = frames.mattes[[0, 6, 11]] > 0.9
    assert float((drawn.alpha[inside] < 0.7).float().mean()) < 0.01


def test_free_discs_are_learned_and_opaque_ones_stay() -> None:
    for free in (True, False):
        config = replace(CONFIG, stages=(Resolution(scale=0.5, steps=4),), fields=replace(FIELDS, free_discs=free))
        made = fit_avatar(painted_track(), load_rig(), config)
        assert (float(made.avatar.opacity_logits.std()) > 1e-3) == free


def test_a_lost_face_and_exploding_points_are_reported() -> None:
    for wild, said in ((LearningRates(offsets=50.0), "covered"), (LearningRates(networks=1e30), "loss")):
        config = replace(CONFIG, rates=wild, stages=(Resolution(scale=0.5, steps=80),))
        with pytest.raises(PegasusError) as caught:
            fit_avatar(painted_track(), load_rig(), config)
        assert caught.value.reason is Reason.DIVERGED and said in caught.value.message


def test_a_batch_holds_frames_of_one_code_and_an_epoch_holds_every_frame() -> None:
    coded = CodedFrames(source="two", video=torch.tensor([0] * 7 + [1] * 9), codes=({}, {"hair": 1}))
    assert coded.choices() == {"hair": 2}
    batches = coded.batches(4, torch.Generator().manual_seed(0), without=torch.tensor([3]))
    assert all(len({int(coded.video[frame]) for frame in batch}) == 1 for batch in batches)
    assert {frame for batch in batches for frame in batch} == set(range(16)) - {3}
    assert coded.code(torch.tensor(batches[0])) in coded.codes


def test_several_videos_of_a_person_are_learned_under_several_codes() -> None:
    track = painted_track()
    mask = torch.zeros(len(track), 64, 64)
    coded = CodedFrames(source="two", video=(torch.arange(len(track)) >= 6).long(), codes=({}, {"hair": 1}), masks=mask)
    config = replace(
        CONFIG, stages=(Resolution(scale=0.5, steps=12),), fields=replace(FIELDS, subject_stage=True), codes_from=0.0
    )
    network = random_perceptual(EFFICIENTNET, torch.Generator().manual_seed(0))
    config = replace(config, perceptual=EFFICIENTNET)
    fitted = fit_avatar(track, load_rig(), config, coded=coded, context=FitContext(perceptual=network))
    assert fitted.fields is not None
    blocks = fitted.fields.networks.codes.blocks
    assert len(blocks["hair"]) == 2 and len(blocks["nose"]) == 1
    assert not torch.equal(blocks["hair"][0], blocks["hair"][1])


def test_features_of_real_frames_are_kept() -> None:
    cache = FeatureCache(random_perceptual(EFFICIENTNET, torch.Generator().manual_seed(0)))
    images = torch.rand(2, 32, 32, 3)
    first = cache.features(torch.tensor([4, 5]), images)
    again = cache.features(torch.tensor([5]), torch.zeros(1, 32, 32, 3))  # not computed again
    assert torch.equal(again[0][0], first[0][1]) and len(cache.kept) == 2


def test_terms_of_the_fields_vanish_where_they_should() -> None:
    unit = torch.nn.functional.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    assert float(losses.eikonal_loss(unit)) < 1e-10 < 0.9 < float(losses.eikonal_loss(2 * unit))
    assert float(losses.surface_loss(torch.tensor([0.5, -0.5]))) == 0.5
    assert float(losses.skinning_prior_loss(torch.full((4, 2), 0.1))) == pytest.approx(0.02)
    own = torch.full((2, 4, 3), 0.01)
    own[1] *= 10  # a change in proportion counts alike in a small basis and in a large one
    assert float(losses.basis_prior_loss(0 * own, own)) == 0
    assert float(losses.basis_prior_loss(0.5 * own, own)) == pytest.approx(0.25, rel=0.01)
    assert float(losses.basis_prior_loss(own[:0], own[:0])) == 0
    trust = torch.tensor([1.0, 1, 0, 0, 0])
    wrong = torch.cat([unit[:2], -unit[2:]])
    assert float(losses.normal_loss(unit, wrong, trust)) == 0 < float(losses.normal_loss(unit, wrong, 1 - trust))
    scales = [losses.prior_scale(share, 10, 4) for share in (0, 0.19, 0.21, 0.99, 1)]
    assert scales == [10, 10, 5, 0.625, 0.625]
