"""One video's light against another's, told by the whites of the eyes."""

from __future__ import annotations

from dataclasses import replace

import torch

from pegasus_ray.avatar.borrow.match_light import FIT_ERROR_LOG, match_light, whites
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Part
from tests.painted import painted_avatar

CAST = torch.tensor([0.8, 0.6, 0.4])


def _with_whites(avatar: Avatar) -> Avatar:
    eyes = avatar.parts == Part.EYES
    return replace(avatar, albedo=torch.where(eyes[:, None], torch.tensor(0.8), avatar.albedo))


def test_a_warm_dim_room_is_undone_but_for_what_a_fit_may_err_by() -> None:
    rig, wearer = load_rig(), _with_whites(painted_avatar())
    source = _with_whites(painted_avatar(1))
    dim = replace(source, albedo=source.albedo * CAST)
    gain = (match_light(dim, wearer, rig).albedo / dim.albedo).median(0).values
    expected = torch.tensor([0.8, 0.6, 0.4]).reciprocal() * torch.tensor(-FIT_ERROR_LOG).exp()
    torch.testing.assert_close(gain, expected, atol=1e-3, rtol=0)


def test_the_same_light_changes_nothing_whatever_the_skin() -> None:
    rig, wearer, source = load_rig(), _with_whites(painted_avatar()), _with_whites(painted_avatar(1))
    assert not torch.allclose(wearer.albedo.mean(0), source.albedo.mean(0), atol=0.02)
    assert torch.equal(match_light(source, wearer, rig).albedo, source.albedo)


def test_shut_eyes_say_nothing() -> None:
    rig, wearer, source = load_rig(), _with_whites(painted_avatar()), painted_avatar(1)
    shut = source.select(source.parts != Part.EYES)
    assert whites(shut, rig) is None
    assert match_light(shut, wearer, rig) is shut
