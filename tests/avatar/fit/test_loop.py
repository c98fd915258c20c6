"""The fit: it learns, it is deterministic, it resumes exactly, and it says so when it cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pegasus_ray.avatar.fit import losses
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates, Resolution
from pegasus_ray.avatar.fit.densify import grow_points, points_to_keep
from pegasus_ray.avatar.fit.evidence import bare_skin_share, pixel_contributions, propagate_parts
from pegasus_ray.avatar.fit.explicit_learner import MAX_RADIUS_METRES, ExplicitLearner
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.avatar.fit.loop import FitContext, fit_avatar
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.avatar.points.tensors import avatar_tensors
from pegasus_ray.render.metrics import psnr
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Part
from tests.painted import painted_avatar, painted_track, parameters

CONFIG = FitConfig(
    stages=(Resolution(scale=0.5, steps=20), Resolution(scale=1.0, steps=40, points=3500)),
    budget=PointBudget(surface=2600, hair=900, cloth=60, backing=300),
    motion_components=4,
    evidence_frames=4,
    checkpoint_every=10,
)


class _KilledError(Exception):
    """Stands in for a worker's death."""


def _mean_psnr(avatar: Avatar) -> float:
    rig, frames = load_rig(), FrameSet.of(painted_track(), 64)
    points = avatar.canonical(avatar.anchors(rig))
    with torch.no_grad():
        drawn = render_points(points, rig, frames.parameters.drive(avatar), 64).image.clamp(0, 1)
    return float(psnr(drawn, frames.images))


def test_a_fit_learns_the_person() -> None:
    short = fit_avatar(painted_track(), load_rig(), replace(CONFIG, stages=(Resolution(scale=0.5, steps=1),)))
    fitted = fit_avatar(painted_track(), load_rig(), CONFIG)
    assert _mean_psnr(fitted.avatar) > _mean_psnr(short.avatar) + 2
    assert 3500 <= len(fitted.avatar) <= 3800 and fitted.figures["points"] == len(fitted.avatar)
    hair = fitted.avatar.part_logits.argmax(-1) == Part.HAIR
    assert 0.02 < float(hair.float().mean()) < 0.6


def test_the_same_seed_gives_the_same_bits_and_a_killed_fit_resumes_exactly(tmp_path: Path) -> None:
    whole = fit_avatar(painted_track(), load_rig(), CONFIG).avatar
    checkpoint = tmp_path / "fit.safetensors"

    def die(share: float, _text: str) -> None:
        if share > 0.6:
            raise _KilledError

    with pytest.raises(_KilledError):
        fit_avatar(painted_track(), load_rig(), CONFIG, context=FitContext(progress=die, checkpoint=checkpoint))
    assert checkpoint.exists()
    resumed = fit_avatar(painted_track(), load_rig(), CONFIG, context=FitContext(checkpoint=checkpoint)).avatar
    for name, value in avatar_tensors(whole).items():
        assert torch.equal(avatar_tensors(resumed)[name], value), name
    assert checkpoint.exists(), "it is the caller's to remove, once the result is safe"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_broken_checkpoint_is_ignored(tmp_path: Path, content: bytes) -> None:
    checkpoint = tmp_path / "fit.safetensors"
    checkpoint.write_bytes(content)
    brief = replace(CONFIG, stages=(Resolution(scale=0.5, steps=2),))
    assert len(fit_avatar(painted_track(), load_rig(), brief, context=FitContext(checkpoint=checkpoint)).avatar) > 100


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        fit_avatar(painted_track().select([0, 1, 2]), load_rig(), CONFIG)
    assert caught.value.reason is Reason.TOO_FEW_FRAMES and caught.value.subject == "painted-0"


def test_divergence_is_reported() -> None:
    wild = replace(CONFIG, rates=LearningRates(log_radii=1e30, albedo=1e38), stages=(Resolution(scale=0.5, steps=10),))
    with pytest.raises(PegasusError) as caught:
        fit_avatar(painted_track(), load_rig(), wild)
    assert caught.value.reason is Reason.DIVERGED


def test_no_point_grows_beyond_the_largest() -> None:
    learner = ExplicitLearner(painted_avatar(), load_rig(), FitConfig())
    with torch.no_grad():
        learner.avatar.log_radii[0] = 0.0
    small = learner.avatar.log_radii.detach()[1:].clone()
    learner.clamp_parameters()
    assert float(learner.avatar.log_radii[0].detach()) == pytest.approx(np.log(MAX_RADIUS_METRES))
    assert torch.equal(learner.avatar.log_radii.detach()[1:], small)


def test_a_head_outside_of_the_mattes_is_reported() -> None:
    track = painted_track()
    lost = replace(track, mattes=np.zeros_like(track.mattes))
    with pytest.raises(PegasusError) as caught:
        fit_avatar(lost, load_rig(), CONFIG)
    assert caught.value.reason is Reason.DIVERGED and "overlay" in caught.value.message


def test_a_config_without_stages_is_refused() -> None:
    with pytest.raises(PegasusError):
        FitConfig(stages=())


def test_contributions_add_up_to_the_rasteriser_s_alpha() -> None:
    rig, avatar = load_rig(), painted_avatar()
    drive = parameters(1).drive(avatar)
    drawn = render_points(avatar.canonical(avatar.anchors(rig)), rig, drive, 48, per_pixel=8)
    opacity = avatar.canonical(avatar.anchors(rig)).opacity
    share, _ = pixel_contributions(drawn.raster.indices[0], drawn.pixels[0], drawn.radii[0], opacity)
    torch.testing.assert_close(share.sum(1).view(48, 48), drawn.alpha[0], atol=1e-4, rtol=0)


def test_a_point_before_the_face_falls_on_skin_and_one_on_the_crown_does_not() -> None:
    rig, avatar = load_rig(), painted_avatar()
    anchors = avatar.anchors(rig)
    hovering = replace(avatar, offsets=avatar.offsets + 0.01 * anchors.normals)
    frames = FrameSet.of(painted_track(), 64)
    share, turned = bare_skin_share(hovering, hovering.canonical(anchors), rig, frames, torch.arange(len(frames)))
    x, y, z = anchors.positions.unbind(1)
    cheek = (x.abs() < 0.04) & (y < -0.02) & (y > -0.05) & (z > -0.02) & (anchors.normals[:, 2] > 0.5)
    crown = y > 0.1
    assert cheek.any() and crown.any()
    back = anchors.normals[:, 2] < -0.9
    assert float(turned[cheek].min()) > 0.2 and float(turned[back].max()) < -0.2
    assert float(share[cheek].mean()) > 0.9 and float(share[crown].mean()) < 0.1


def test_hidden_points_take_their_neighbours_part() -> None:
    positions = torch.tensor([[0.0, 0, 0], [0.01, 0, 0], [1.0, 0, 0], [1.01, 0, 0]])
    votes = torch.zeros(4, len(Part))
    votes[0, Part.HAIR], votes[2, Part.SKIN] = 9.0, 9.0
    logits = propagate_parts(positions, votes, torch.full((4, len(Part)), 1 / len(Part)), neighbours=1)
    assert logits.argmax(-1).tolist() == [Part.HAIR, Part.HAIR, Part.SKIN, Part.SKIN]


def test_growth_reaches_the_count_and_keeps_the_parents() -> None:
    avatar = painted_avatar()
    generator = torch.Generator().manual_seed(0)
    grown = grow_points(avatar, torch.ones(len(avatar)), len(avatar) + 500, generator)
    assert len(grown) == len(avatar) + 500
    assert torch.equal(grown.offsets[: len(avatar)], avatar.offsets)
    assert (grown.log_radii[: len(avatar)] <= avatar.log_radii).all()
    assert grow_points(avatar, torch.ones(len(avatar)), 10, generator) is avatar


def test_unseen_and_transparent_points_are_not_kept() -> None:
    avatar = painted_avatar().select(torch.arange(3))
    avatar = replace(avatar, opacity_logits=torch.tensor([4.0, 4.0, -9.0]))
    hair = torch.nn.functional.one_hot(torch.full((3,), Part.HAIR), len(Part)).float()
    seen, inside = torch.tensor([10.0, 0.0, 10.0]), torch.ones(3)
    assert points_to_keep(replace(avatar, part_logits=hair), seen, inside).tolist() == [True, False, False]


def test_skin_is_kept_unseen_where_it_lies_on_the_person() -> None:
    avatar = painted_avatar().select(torch.arange(3))
    skin = torch.nn.functional.one_hot(torch.full((3,), Part.SKIN), len(Part)).float()
    avatar = replace(avatar, part_logits=skin, opacity_logits=torch.full((3,), 4.0))
    assert points_to_keep(avatar, torch.zeros(3), torch.tensor([1.0, 0.9, 0.1])).tolist() == [True, True, False]


def test_losses_vanish_on_equal_pictures_and_grow_with_the_error() -> None:
    picture = torch.rand(1, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    for loss in (losses.colour_loss, losses.square_loss, losses.edge_loss):
        assert float(loss(picture, picture)) == 0
    assert float(losses.colour_loss(picture, picture + 0.5)) == pytest.approx(0.5)
    assert float(losses.square_loss(picture, picture + 0.5)) == pytest.approx(0.25)
    assert float(losses.edge_loss(picture, picture + 0.5)) == pytest.approx(0, abs=1e-6)
    assert float(losses.mask_loss(torch.ones(1, 4, 4), torch.zeros(1, 4, 4))) == 1
    assert float(losses.code_loss(torch.full((3, 2), 2.0))) == 4
    mask = torch.tensor([[[1.0, 0.0]]])
    flat, rough = (
        torch.full((1, 4, 4, 3), 0.01),
        0.02 * torch.randn(1, 4, 4, 3, generator=torch.Generator().manual_seed(1)),
    )
    solid = torch.ones(1, 4, 4)
    assert float(losses.relief_loss(flat, solid)) < 0.01 < 0.5 < float(losses.relief_loss(rough, solid)) <= 2
    assert float(losses.relief_loss(rough, torch.zeros(1, 4, 4))) == 0  # where nobody is, nothing is rough
    assert float(losses.segment_loss(mask, mask)) < 1e-3 < 5 < float(losses.segment_loss(1 - mask, mask))
