"""Judging swapped frames: what was not measured does not count, and a net that disagrees lowers the quality."""

from __future__ import annotations

import numpy as np
import pytest

from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.judge import Judge, JudgeConfig, judge_models, quality_of
from tests.painted import painted_track


def scores(agreement: float, identity: float) -> dict[str, np.ndarray]:
    given = {"coverage": 0.9, "seam": 0.8, "agreement": agreement, "identity": identity}
    return {name: np.array([value], np.float32) for name, value in given.items()}


def test_quality_falls_with_each_net_that_disagrees_and_ignores_those_that_are_not_there() -> None:
    assert quality_of(scores(np.nan, np.nan)) == pytest.approx(0.72)
    assert quality_of(scores(1.0, 1.0)) == pytest.approx(0.72)
    assert quality_of(scores(0.0, np.nan)) == pytest.approx(0.36)
    assert quality_of(scores(0.0, 0.0)) == pytest.approx(0.18)


def test_without_nets_nothing_is_measured_and_no_model_is_named() -> None:
    config = JudgeConfig(parser="none", identity="none")
    track = painted_track()
    found = Judge(config)(track, track.on_white(), track.mattes, track.mattes, Attribute.HAIR)
    assert set(found) == {"agreement", "identity"} and all(np.isnan(values).all() for values in found.values())
    assert judge_models(config) == ()


def test_an_unknown_parser_is_refused() -> None:
    with pytest.raises(PegasusError, match="choose auto"):
        JudgeConfig(parser="clever")


class Tone:
    """A recognition net that knows people by their mean colour."""

    limit = 0.5

    def embed(self, images: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), -1, 3).mean(1) / 255


def test_another_person_costs_identity_and_the_same_one_costs_nothing() -> None:
    judge, track = Judge(JudgeConfig(parser="none", identity="none")), painted_track()
    judge.identity = Tone()
    white = track.on_white()

    def likeness(images: np.ndarray) -> np.ndarray:
        return judge(track, images, track.mattes, track.mattes, Attribute.NOSE)["identity"]

    assert (likeness(white) == 1).all() and (likeness(white // 2 + 64) == 1).all()
    assert (likeness(np.zeros_like(white)) == 0).all()
