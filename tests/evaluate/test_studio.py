"""The studio's examination compares parts by intersection over union, and names the file that is missing."""

from __future__ import annotations

import numpy as np
import pytest

from pegasus_ray.evaluate import studio as evaluate_studio
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Label

SIDE = 64


def _map(**parts: tuple[Label, slice]) -> np.ndarray:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    for label, rows in parts.values():
        labels[rows] = label
    return labels


def test_left_and_right_are_one_part_and_lips_are_mouth() -> None:
    truth = _map(
        eye=(Label.EYE_LEFT, slice(0, 8)), lip=(Label.LIP_UPPER, slice(20, 24)), hair=(Label.HAIR, slice(40, 48))
    )
    seen = _map(eye=(Label.EYE_RIGHT, slice(0, 8)), lip=(Label.MOUTH, slice(20, 28)), hair=(Label.HAIR, slice(44, 52)))
    everything = np.ones((SIDE, SIDE), bool)
    shares = evaluate_studio.part_ious(seen, truth, everything)
    assert shares == pytest.approx({"eyes": 1.0, "mouth": 0.5, "hair": 1 / 3})
    upper = everything.copy()
    upper[44:] = False
    assert evaluate_studio.part_ious(seen, truth, upper)["hair"] == 0


def test_a_part_that_is_not_there_is_not_counted() -> None:
    truth, seen = np.full((SIDE, SIDE), Label.SKIN, np.uint8), np.full((SIDE, SIDE), Label.HAIR, np.uint8)
    assert evaluate_studio.part_ious(seen, truth, np.ones((SIDE, SIDE), bool)) == {"skin": 0.0}


def test_without_the_parser_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path))
    monkeypatch.delenv("PEGASUS_ASSET_MIRROR", raising=False)
    with pytest.raises(PegasusError) as caught:
        evaluate_studio.evaluate_studio([1], 1, 32)
    assert caught.value.reason is Reason.ASSET_MISSING
