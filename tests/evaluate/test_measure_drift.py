"""A drift that made-up landmarks were given is found again by its fit, in spite of outliers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pegasus_ray.evaluate.measure_drift import Sighting, fit_drift
from pegasus_ray.perception.tracking.rig_state import BoundPoints, State
from pegasus_ray.rig.embedding import load_embedding, save_embedding
from pegasus_ray.rig.model import Rig, rodrigues, rotation_vectors
from pegasus_ray.rig.open_rig import load_open_rig

PICTURES, FOCAL = 60, 2.0


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_open_rig()


def sightings(rig: Rig, drift: torch.Tensor) -> list[Sighting]:
    source = torch.Generator().manual_seed(1)
    places = rig.landmarks
    state = State(
        rotation=rodrigues(torch.tensor([0.2, 0.4, 0.1]) * torch.randn(PICTURES, 3, generator=source)),
        translation=torch.tensor([0.02, 0.01, 0.8]).repeat(PICTURES, 1),
        expression=0.3 * torch.rand(PICTURES, len(rig.expression_names), generator=source),
        shape=0.2 * torch.randn(len(rig.shape_names), generator=source),
        log_focal=0.0,
    )
    found, true = (
        BoundPoints.of(rig, places.triangles, places.barycentric, given).place(state)[1] for given in (drift, None)
    )
    off = FOCAL * (found[..., :2] / found[..., 2:] - true[..., :2] / true[..., 2:])
    off[::15] += 0.05  # a detector that failed
    vectors = torch.cat([rotation_vectors(state.rotation), state.translation], 1)
    return [
        Sighting(shape=state.shape, expression=expression, head=head, focal=FOCAL, off=one)
        for expression, head, one in zip(state.expression, vectors, off, strict=True)
    ]


def test_a_known_drift_is_found(rig: Rig) -> None:
    source = torch.Generator().manual_seed(3)
    drift = 0.004 * torch.randn(6, 478, 3, generator=source) * (rig.landmarks.weights > 0)[:, None]
    drift[0] = 0  # the constant term is the next test's
    found = fit_drift(rig, sightings(rig, drift))
    left, given = (
        torch.stack([one.off for one in sightings(rig, some)]).norm(dim=2)[1:15].mean()
        for some in (drift - found, drift)
    )
    assert left < 0.45 * given  # the squares of the view have a mean, which an identity may take up


def test_what_an_identity_could_be_is_no_drift(rig: Rig) -> None:
    """Wider faces for all: the axes explain it, whatever the model's habit is."""
    places = rig.landmarks
    axes = BoundPoints.of(rig, places.triangles, places.barycentric).shape_basis * torch.tensor([1.0, -1.0, -1.0])
    known = places.weights > 0
    wider = torch.zeros(6, 478, 3)
    wider[0] = 0.2 * axes[:60].sum(0) * known[:, None]
    apart = torch.zeros(6, 478, 3)
    apart[0, known] = 0.004 * (torch.arange(int(known.sum()))[:, None] % 2 * 2 - 1).float()
    for given, least, most in ((wider, 0.0, 0.35), (apart, 0.6, 1.2)):
        found = fit_drift(rig, sightings(rig, given))
        assert least < found[0].norm() / given[0].norm() < most


def test_landmarks_that_are_where_they_should_be_have_none(rig: Rig) -> None:
    found = fit_drift(rig, sightings(rig, torch.zeros(6, 478, 3)))
    assert found.abs().max() < 2e-3


def test_a_drift_is_kept_with_the_places(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("embedding") / "embedding.safetensors"
    drift = torch.linspace(-0.01, 0.01, 6 * 478 * 3).reshape(6, 478, 3)
    save_embedding(replace(rig.landmarks, drift=drift), rig, path)
    kept = load_embedding(rig, path).landmarks.drift
    assert kept is not None
    torch.testing.assert_close(kept, drift, atol=1e-5, rtol=0)
