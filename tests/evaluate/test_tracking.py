"""Tracks are compared with the truth: a constant tilt of the axes is told from wrong turns, and motion from stillness."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pegasus_ray.evaluate.tracking import TrackScore, compare_expressions, compare_rotations, score_video, summarise
from pegasus_ray.perception.observe import ObserveConfig
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.stages.track import TrackConfig

from ..perception.conftest import Filmed, filmed, models

__all__ = ["filmed", "models"]  # fixtures


@pytest.fixture
def turns() -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(0, (0.1, 0.3, 0.05), (40, 3)).astype(np.float32)


def test_tilted_axes_are_a_constant_and_no_wrong_turn(turns: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    tilted = (Rotation.from_rotvec(turns) * Rotation.from_rotvec([0.05, 0, 0])).as_rotvec().astype(np.float32)
    off, turned, _ = compare_rotations(tilted, turns)
    assert off == pytest.approx(np.rad2deg(0.05), abs=1e-3)
    assert turned == pytest.approx(0, abs=1e-3)


def test_a_yaw_found_too_small_is_told(turns: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> None:
    off, turned, (pitch, yaw, roll) = compare_rotations(turns * np.array([1, 0.8, 1], np.float32), turns)
    assert (pitch, yaw, roll) == pytest.approx((1, 0.8, 1), abs=1e-3)
    assert off.mean() > 2
    assert turned.mean() > 2


def test_expressions_are_correlated_and_still_ones_left_out() -> None:
    names = load_open_rig().expression_names
    true = np.zeros((30, len(names)), np.float32)
    true[:, names.index("jawOpen")] = np.sin(np.arange(30))
    for side in ("Left", "Right"):
        true[:, names.index(f"mouthSmile{side}")] = np.cos(0.7 * np.arange(30))
    found = 0.5 * true + 0.1
    found[:, names.index("mouthSmileLeft")] *= -1
    found[:, names.index("mouthSmileRight")] *= -1
    scores = compare_expressions(found, true, names)
    assert scores == pytest.approx({"jawOpen": 1.0, "smile": -1.0}, abs=1e-4)


def test_a_film_is_judged_frame_by_frame(models: None, filmed: Filmed) -> None:
    config = TrackConfig(observe=ObserveConfig(size=128, parser="landmarks", min_frames=3, threads=1))
    score = score_video(filmed.path, filmed.truth, config)
    assert isinstance(score, TrackScore)
    assert score.kept == 1.0
    assert len(score.rotation) == len(score.reprojection) == 6
    assert 0 < np.median(score.reprojection) < 4
    assert np.median(score.rotation_turned) <= np.median(score.rotation) + 1
    assert score.matte > 0.9
    assert score.parts["skin"] > 0.6
    assert 0.3 < score.focal < 2
    facts = summarise([score])
    assert facts["rotation_deg_median"] == facts["people"][0]["rotation_deg_median"]
    assert {"reprojection_pct_median", "expression_corr", "matte_iou", "frames_per_second"} <= facts.keys()
