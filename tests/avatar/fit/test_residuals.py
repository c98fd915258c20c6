"""Corrections of the tracking hold what is a frame's own, nothing that frames of the same pose share."""

from __future__ import annotations

import torch

from pegasus_ray.avatar.fit.residuals import Residuals
from tests.painted import parameters


def test_what_all_frames_or_a_pose_share_is_taken_out_and_what_is_a_frame_s_own_stays() -> None:
    tracked = parameters(40)
    residuals = Residuals(tracked)
    own = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    shared = 3.0 + 20 * tracked.head[:, 1:2]
    residuals.values["head"] = own + shared
    residuals.values["torso"] = 0.01 * torch.ones(40, 6)
    residuals.centre()
    left = residuals.values["head"]
    assert float(residuals.values["torso"].abs().max()) < 5e-4
    assert float(left.mean(0).abs().max()) < 0.05
    alike = torch.nn.functional.cosine_similarity(left, own - own.mean(0), dim=0)
    assert float(alike.min()) > 0.7
    again = left.clone()
    residuals.centre()
    assert float((residuals.values["head"] - again).abs().max()) < 0.05 * float(again.abs().max())
