"""A performance keeps within its limits, moves the head more than the torso, and has the same statistics throughout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pegasus_ray.rig.model import Pose, rigid_transforms
from pegasus_ray.studio.identity import studio_rig
from pegasus_ray.studio.motion import CAMERA_DISTANCE_METRES, perform, pose_stills
from pegasus_ray.studio.sampling import sample_person


def test_the_same_seed_is_the_same_performance() -> None:
    one, two, three = (
        perform(sample_person(1), 40),
        perform(sample_person(1), 40),
        perform(sample_person(1), 40, seed=9),
    )
    for name in ("expression", "head", "torso"):
        assert torch.equal(getattr(one, name), getattr(two, name))
        assert not torch.equal(getattr(one, name), getattr(three, name))


@pytest.mark.parametrize("seed", range(4))
def test_limits(seed: int) -> None:
    motion = perform(sample_person(seed), 400, seed=seed)
    assert len(motion) == 400
    assert motion.expression.min() >= 0
    assert motion.expression.max() <= 1
    turns = torch.rad2deg(motion.head[:, :3].abs().max(0).values)
    assert (turns < torch.tensor([15.0, 45.1, 15.0])).all()
    assert turns[1] > 40, "the head never turns far"
    assert (motion.head[:, 3:] - torch.tensor([0, 0, CAMERA_DISTANCE_METRES])).abs().max() < 0.16


def test_the_head_stays_on_the_neck() -> None:
    """Head and torso move by themselves, but the neck's joint is nearly the same place under both."""
    motion = perform(sample_person(3), 100)
    neck = torch.tensor([0.0, -0.105, -0.085, 1.0])
    pose = Pose.still(motion.head, motion.torso)
    under_head, under_torso = rigid_transforms(pose.head) @ neck, rigid_transforms(pose.torso) @ neck
    assert (under_head - under_torso).norm(dim=1).max() < 1e-5
    assert motion.head[:, 1].std() > 3 * motion.torso[:, 1].std()


def test_people_blink_and_talk_and_the_last_tenth_is_like_the_rest() -> None:
    names = studio_rig().expression_names
    motions = [perform(sample_person(seed), 300, seed=seed) for seed in range(8)]
    every = np.stack([motion.expression.numpy() for motion in motions])
    blink, jaw = every[..., names.index("eyeBlinkLeft")], every[..., names.index("jawOpen")]
    assert ((blink.max(1) > 0.9) & (np.median(blink, 1) < 0.2)).all()
    assert (jaw.max(1) > 0.2).all()
    yaw = np.stack([motion.head[:, 1].numpy() for motion in motions])
    for values in (jaw, yaw):
        ratio = values[:, -30:].std() / values[:, :-30].std()
        assert 0.6 < ratio < 1.6


def test_stills_are_posed_as_told_and_can_be_selected() -> None:
    turns = [(0.0, yaw, 0.0) for yaw in (-30.0, -10.0, 10.0, 30.0)]
    motion = pose_stills([{"jawOpen": 0.5}, {}, {}, {}], turns)
    assert torch.allclose(torch.rad2deg(motion.head[:, 1]), torch.tensor([-30.0, -10.0, 10.0, 30.0]), atol=1e-4)
    assert motion.expression[0, studio_rig().expression_names.index("jawOpen")] == 0.5
    assert not motion.expression[1:].any()
    chosen = motion.select([3, 0])
    assert torch.equal(chosen.head, motion.head[[3, 0]])
    assert len(chosen) == 2
