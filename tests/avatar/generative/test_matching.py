"""Pairing two clouds: everybody is taken, once where there is room, and near."""

from __future__ import annotations

import torch

from pegasus_ray.avatar.generative.matching import match_points, pair_points


def test_matching_takes_everybody_and_stays_near() -> None:
    first, second = (
        torch.rand(600, 3, generator=torch.Generator().manual_seed(1)),
        torch.rand(200, 3, generator=torch.Generator().manual_seed(2)),
    )
    matched = match_points(first, second)
    assert set(matched.tolist()) == set(range(200)), "no point of the poorer cloud is lost"
    nearest = torch.cdist(first, second).amin(1).mean()
    assert (first - second[matched]).norm(dim=1).mean() < 1.5 * nearest
    assert torch.equal(match_points(first, first), torch.arange(600))


def test_pairing_is_one_to_one_and_near() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 500, 3, generator=generator)
    paired = pair_points(first, second)
    assert sorted(paired.tolist()) == list(range(500))
    near = (first - second[paired]).norm(dim=1).mean()
    assert near < 0.5 * (first - second).norm(dim=1).mean()
    assert torch.equal(pair_points(first, first), torch.arange(500))
