"""The dense basis holds the principal components of sampled people, within the span of the named axes."""

from __future__ import annotations

import torch

from pegasus_ray.rig.info import rig_info
from pegasus_ray.rig.model import Rig
from pegasus_ray.rig.pca import dense_basis, sample_shapes


def heads(rig: Rig, shapes: torch.Tensor) -> torch.Tensor:
    """Displaced vertices (N, V · 3) of people, weighted as the basis weighs them."""
    on_head = (1 - rig.skin_weights[:, rig.joint_names.index("root")]).clamp(min=0).sqrt()
    return shapes @ (rig.shape_basis * on_head[:, None]).flatten(1)


def test_it_is_the_principal_component_analysis_of_the_sampled_heads(rig: Rig) -> None:
    shapes = sample_shapes(rig, 300, seed=4)
    basis = dense_basis(rig, 300, seed=4)
    people = heads(rig, shapes - shapes.mean(0))
    variance = torch.linalg.svdvals(people) ** 2
    torch.testing.assert_close(basis.explained[:20], (variance.cumsum(0) / variance.sum())[:20], atol=1e-3, rtol=0)
    directions = heads(rig, basis.components[:20])
    gram = directions @ directions.T
    assert (gram - torch.diag(gram.diagonal())).abs().max() < 1e-3 * gram.max(), "components do not overlap"
    torch.testing.assert_close(gram.diagonal(), variance[:20] / 299, rtol=1e-2, atol=0)


def test_few_components_tell_most_of_new_people(rig: Rig) -> None:
    basis = dense_basis(rig)
    assert basis.count(0.9) < 25 < basis.count(0.999) <= len(basis.components) <= len(rig.shape_names)
    new = sample_shapes(rig, 100, seed=9)
    people, axes = heads(rig, new - basis.mean), heads(rig, basis.components[: basis.count(0.95)])
    weights = torch.linalg.lstsq(axes.T, people.T).solution.T
    left = people - heads(rig, basis.shape(weights @ torch.eye(len(axes), len(basis.components))) - basis.mean)
    assert left.square().sum() < 0.08 * people.square().sum()


def test_rig_info_agrees_with_the_rig() -> None:
    facts = rig_info()
    assert {"name", "vertices", "shape", "expression", "joints", "landmarks", "baked_bytes"} <= set(facts)
    assert sum(facts["axes"].values()) == facts["shape"] and facts["axes"]["nose"] > 10 and facts["axes"]["global"] > 10
    assert facts["baked_bytes"] < 6_000_000 and facts["landmarks"] >= 200
    assert 0.8 < facts["dense"]["explained"]["10"] < facts["dense"]["explained"]["50"] <= 1
