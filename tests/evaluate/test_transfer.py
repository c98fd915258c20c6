"""The transfer examination scores a user who looks as the truth best, and measures a change outside of the part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.evaluate.transfer import score_worn
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute, Part
from pegasus_ray.stages.render import render_clip
from tests.painted import painted_avatar, painted_track


def test_a_mouth_scores_by_its_truth_and_everything_else_is_the_user_s_own() -> None:
    rig, user, own = load_rig(), painted_track().select([3, 8]), painted_avatar()
    worn = put_on(own, painted_avatar(1), Attribute.MOUTH, rig)
    truth = replace(user, images=np.stack(list(render_clip(worn, user))))
    score, pictures = score_worn(user, own, worn, truth, Attribute.MOUTH, 40.0)
    assert score.psnr_truth > score.psnr_unchanged + 10
    assert score.psnr_gap_db == 40.0 - score.psnr_truth
    assert score.outside_max_difference <= 1
    assert [picture.shape for picture in pictures] == [(64, 64, 3)] * 3
    far = (worn.parts == Part.SKIN) & (worn.places(rig)[:, 1] > 0.03)
    painted = replace(worn, albedo=torch.where(far[:, None], torch.zeros(3), worn.albedo))
    spoilt, _ = score_worn(user, own, painted, truth, Attribute.MOUTH, 40.0)
    assert spoilt.outside_max_difference > 20
    assert spoilt.psnr_truth == score.psnr_truth, "the forehead is not in the mouth's region"
