"""Invariants of points on the rig: a drift turns with the view alone, and its derivative is that of the places."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pegasus_ray.perception.tracking.rig_state import BoundPoints, State, view_terms
from pegasus_ray.rig.model import Rig, rodrigues
from pegasus_ray.rig.open_rig import load_open_rig


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_open_rig()


@pytest.fixture(scope="module")
def state(rig: Rig) -> State:
    source = torch.Generator().manual_seed(2)
    return State(
        rotation=rodrigues(0.4 * torch.randn(3, 3, generator=source)),
        translation=torch.tensor([0.05, -0.02, 0.7]) + 0.05 * torch.randn(3, 3, generator=source),
        expression=torch.rand(3, len(rig.expression_names), generator=source),
        shape=0.2 * torch.randn(len(rig.shape_names), generator=source),
        log_focal=0.5,
    )


@pytest.fixture(scope="module")
def points(rig: Rig) -> BoundPoints:
    drift = 0.01 * torch.randn(6, 20, 3, generator=torch.Generator().manual_seed(4))
    return BoundPoints.of(rig, torch.arange(20) * 7, torch.full((20, 3), 1 / 3), drift)


def test_a_roll_shows_the_same_side(state: State) -> None:
    towards = torch.nn.functional.normalize(-state.translation, dim=1)
    rolled = replace(state, rotation=rodrigues(0.7 * towards) @ state.rotation)
    torch.testing.assert_close(
        view_terms(rolled.rotation, rolled.translation)[0], view_terms(state.rotation, state.translation)[0]
    )


def test_the_slide_is_the_places_derivative(points: BoundPoints, state: State) -> None:
    """Central differences of rotations after the head's, less the part that is the rigid turn."""
    about, _ = points.place(state)
    slide = points.slide(state)
    step = 1e-2
    for axis in range(3):
        turn = step * torch.eye(3)[axis].expand(3, 3)
        there, back = (
            points.place(replace(state, rotation=rodrigues(sign * turn) @ state.rotation))[0] for sign in (1, -1)
        )
        rigid = torch.linalg.cross(torch.eye(3)[axis].expand_as(about), about)
        torch.testing.assert_close((there - back) / (2 * step) - rigid, slide[..., axis], atol=2e-5, rtol=1e-2)
    assert slide.abs().mean() > 1e-3


def test_without_a_drift_nothing_slides(rig: Rig, points: BoundPoints, state: State) -> None:
    still = replace(points, drift=None)
    assert not still.slide(state).any()
    assert (still.place(state)[0] - points.place(state)[0]).abs().max() > 1e-3
