"""The nearest points of a cloud."""

from __future__ import annotations

import torch

from pegasus_ray.avatar.points.neighbours import distance_to, nearest


def test_the_tree_finds_what_measuring_all_distances_finds() -> None:
    points, others = torch.rand(2, 300, 3, generator=torch.Generator().manual_seed(0))
    distances, indices = nearest(points, others, 5)
    exact = torch.cdist(points.double(), others.double()).topk(5, largest=False)
    assert torch.equal(indices, exact.indices)
    assert torch.allclose(distances.double(), exact.values, atol=1e-6)
    assert torch.equal(distance_to(points, others), distances[:, 0])


def test_few_others_are_all_found_and_none_is_no_error() -> None:
    points = torch.rand(4, 3)
    assert nearest(points, points[:2], 8)[1].shape == (4, 2)
    assert nearest(points, points[:0], 8)[0].shape == (4, 0)
    assert nearest(points[:0], points, 3)[1].shape == (0, 3)
