"""Invariants of the fit: what the rig projects is found again, through noise and outliers, and the unseen stays put."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from pegasus_ray.perception.tracking.fit_rig import FitRigConfig, RigFit, fit_landmarks
from pegasus_ray.perception.tracking.landmark_problem import LandmarkSequence
from pegasus_ray.rig.model import Rig, interpolate_on_surface, rodrigues, rotation_vectors
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError

FOCAL = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A person talking, and where the landmarks truly are."""

    shape: Tensor  # (K,)
    expression: Tensor  # (T, E)
    head: Tensor  # (T, 6)
    times: Tensor  # (T,)
    landmarks: Tensor  # (T, 478, 2)


@pytest.fixture(scope="module")
def rig() -> Rig:
    """One whose landmarks do not drift, as those that the tests project do not."""
    rig = load_open_rig()
    return replace(rig, landmarks=replace(rig.landmarks, drift=None))


def talk(rig: Rig, frames: int, gap: float) -> Truth:
    source = torch.Generator().manual_seed(3)
    times = gap * torch.arange(frames)
    shape = 0.3 * torch.randn(len(rig.shape_names), generator=source)
    swing = torch.tensor([0.15, 0.35, 0.1, 0.02, 0.01, 0.02])
    phase = 6 * torch.rand(6, generator=source)
    head = swing * torch.sin(torch.tensor([2.1, 1.3, 1.7, 1.1, 1.9, 0.8]) * times[:, None] + phase)
    head += torch.tensor([0.0, 0.0, 0.0, 0.0, 0.03, 0.62])
    expression = torch.zeros(frames, len(rig.expression_names))
    for name, course in (
        ("jawOpen", 0.4 * torch.sin(7 * times).clamp(min=0)),
        ("mouthSmileLeft", 0.3 + 0.3 * torch.sin(1.1 * times)),
        ("mouthSmileRight", 0.3 + 0.3 * torch.sin(1.1 * times)),
        ("eyeBlinkLeft", (times % 1.6 < 0.12).float()),
        ("eyeBlinkRight", (times % 1.6 < 0.12).float()),
    ):
        expression[:, rig.expression_names.index(name)] = course
    landmarks = project(rig, shape, expression, head, FOCAL)
    return Truth(shape=shape, expression=expression, head=head, times=times, landmarks=landmarks)


def project(rig: Rig, shape: Tensor, expression: Tensor, head: Tensor, focal: float) -> Tensor:
    vertices = rig.vertices(shape[None], expression).transpose(0, 1)
    places = interpolate_on_surface(vertices, rig.faces, rig.landmarks.triangles, rig.landmarks.barycentric).transpose(
        0, 1
    )
    points = (places * torch.tensor([1.0, -1.0, -1.0])) @ rodrigues(head[:, :3]).mT + head[:, None, 3:]
    return focal * points[..., :2] / points[..., 2:] + 0.5


def noisy(truth: Truth, percent: float) -> Tensor:
    """Landmarks off by so many percent of the outer-eye distance, neighbours in part together."""
    source = torch.Generator().manual_seed(5)
    eyes = (truth.landmarks[:, 33] - truth.landmarks[:, 263]).norm(dim=1).mean()
    frames = len(truth.times)
    common = torch.einsum(
        "lk,tkc->tlc", torch.randn(478, 12, generator=source), torch.randn(frames, 12, 2, generator=source)
    )
    own = torch.randn(frames, 478, 2, generator=source)
    return truth.landmarks + percent / 100 * eyes * (common / math.sqrt(12) + own) / math.sqrt(2)


def fitted(rig: Rig, truth: Truth, landmarks: Tensor, config: FitRigConfig | None = None, focal: float = 1.8) -> RigFit:
    blendshapes = (0.9 * truth.expression + 0.03).clamp(0, 1)
    seen = LandmarkSequence(
        landmarks=landmarks, blendshapes=blendshapes, times=truth.times, centre=(0.5, 0.5), focal=focal
    )
    return fit_landmarks(rig, seen, config or FitRigConfig())


def turned(fit: RigFit, truth: Truth) -> Tensor:
    """Degrees between the rotations found and the true ones, (T, 3)."""
    between = rodrigues(torch.from_numpy(fit.head[:, :3])) @ rodrigues(truth.head[:, :3]).mT
    return rotation_vectors(between).rad2deg()


def test_known_parameters_are_found(rig: Rig) -> None:
    truth = talk(rig, 24, 0.5)
    fit = fitted(rig, truth, truth.landmarks, FitRigConfig(focal_prior=0.001, shape_prior=0.0005))
    assert fit.error.mean() < 0.15
    assert turned(fit, truth).norm(dim=1).max() < 1.0
    assert fit.camera[0, 0] == pytest.approx(FOCAL, rel=0.05)
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft"):
        column = rig.expression_names.index(name)
        assert np.abs(fit.expression[:, column] - truth.expression[:, column].numpy()).max() < 0.15


def test_noise_and_outliers_hardly_turn_the_head(rig: Rig) -> None:
    truth = talk(rig, 24, 0.5)
    landmarks = noisy(truth, 0.7)
    landmarks[:, 100:120] += 0.05
    fit = fitted(rig, truth, landmarks)
    always = turned(fit, truth).mean(0)  # shape, focal length and pitch can stand in for each other
    assert always.norm() < 4.0
    assert (turned(fit, truth) - always).norm(dim=1).median() < 1.0
    assert torch.isfinite(torch.from_numpy(fit.expression)).all() and fit.expression.min() > -0.15


def test_landmarks_left_out_of_the_fit_are_met_all_the_same(rig: Rig) -> None:
    truth = talk(rig, 24, 0.5)
    fit = fitted(rig, truth, truth.landmarks, FitRigConfig(every_fifth_left_out=True))
    assert fit.left_out_error.shape == (24,) and fit.left_out_error.mean() < 0.5
    assert fitted(rig, truth, truth.landmarks).left_out_error.shape == (0,)


def test_near_frames_steady_each_other_and_far_ones_do_not(rig: Rig) -> None:
    jitter = {}
    for gap in (0.04, 0.5):
        truth = talk(rig, 30, gap)
        for smoothness in (0.0, 0.1):
            off = turned(fitted(rig, truth, noisy(truth, 0.7), FitRigConfig(smoothness=smoothness)), truth)
            jitter[gap, smoothness] = float((off[1:-1] - (off[2:] + off[:-2]) / 2).norm(dim=1).mean())
    assert jitter[0.04, 0.1] < 0.3 * jitter[0.04, 0.0]
    assert jitter[0.5, 0.1] == pytest.approx(jitter[0.5, 0.0])


def test_the_answer_does_not_depend_on_chance_or_on_the_frames_order(rig: Rig) -> None:
    truth = talk(rig, 10, 0.5)
    first, second = (fitted(rig, truth, noisy(truth, 0.7)) for _ in range(2))
    np.testing.assert_array_equal(first.head, second.head)
    back = torch.arange(9, -1, -1)
    mirrored = Truth(
        shape=truth.shape,
        expression=truth.expression[back],
        head=truth.head[back],
        times=truth.times,
        landmarks=truth.landmarks[back],
    )
    turned_back = fitted(rig, mirrored, noisy(truth, 0.7)[back])
    np.testing.assert_allclose(turned_back.head[::-1], first.head, atol=1e-3)


def test_one_frame_is_enough(rig: Rig) -> None:
    truth = talk(rig, 1, 0.04)
    fit = fitted(rig, truth, truth.landmarks)
    assert fit.head.shape == (1, 6) and fit.error[0] < 0.5


def test_a_bad_config_is_refused() -> None:
    with pytest.raises(PegasusError, match="robust"):
        FitRigConfig(robust=0.0)
