"""Corrections of the tracking hold what is a frame's own, nothing that frames of the same pose share."""

from __future__ import annotations

import torch

from pegasus_ray.avatar.fit.corrections import TrackingCorrections
from tests.painted import parameters


def test_what_all_frames_or_a_pose_share_is_taken_out_and_what_is_a_frame_s_own_stays() -> None:
    tracked = parameters(40)
    corrections = TrackingCorrections(tracked)
    own = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    shared = 3.0 + 20 * tracked.head[:, 1:2]
    corrections.values["head"] = own + shared
    corrections.values["torso"] = 0.01 * torch.ones(40, 6)
    corrections.remove_shared()
    left = corrections.values["head"]
    assert float(corrections.values["torso"].abs().max()) < 5e-4
    assert float(left.mean(0).abs().max()) < 0.05
    alike = torch.nn.functional.cosine_similarity(left, own - own.mean(0), dim=0)
    assert float(alike.min()) > 0.7
    again = left.clone()
    corrections.remove_shared()
    assert float((corrections.values["head"] - again).abs().max()) < 0.05 * float(again.abs().max())
