"""Interpolation strips: the ends are the people themselves, and what is no strip is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.conftest import Made, run


def test_a_strip_begins_with_oneself_and_ends_with_the_other(made: Made, tmp_path: Path) -> None:
    model = made.said["personalize"].json["done"][0]
    strip, own, worn = (tmp_path / name for name in ("strip.png", "own.png", "worn.png"))
    options = ["--library", made.library, "--json"]
    said = run("render", model, "--strip", "hair=own:painted-1", "--steps", "2", "--out", strip, *options)
    assert said.code == 0, said.err
    assert said.json["frames"] == 3
    run("render", model, "--unseen", "--frames", "1", "--out", own, *options)
    run("render", model, "--unseen", "--frames", "1", "--wear", "hair=painted-1", "--out", worn, *options)
    picture = cv2.imread(str(strip))
    assert picture.shape == (48, 3 * 48 + 2 * 2, 3)
    assert np.array_equal(picture[:, :48], cv2.imread(str(own)))
    assert np.array_equal(picture[:, -48:], cv2.imread(str(worn)))
    assert not np.array_equal(picture[:, :48], picture[:, -48:])


@pytest.mark.parametrize("arguments", [["hair=own", "x.png"], ["hair=own:nobody", "x.png"], ["hair=own:own", "x.mp4"]])
def test_a_strip_that_cannot_be_is_refused(made: Made, arguments: list[str], tmp_path: Path) -> None:
    model, out = made.said["personalize"].json["done"][0], tmp_path / arguments[1]
    said = run("render", model, "--strip", arguments[0], "--out", out, "--library", made.library)
    assert said.code == 2 and said.err.startswith("error ")
    assert not out.exists()


def test_the_ablation_without_synthesis_is_a_model_of_its_own(made: Made, tmp_path: Path) -> None:
    options = ["--target", "painted-0", "--attributes", "hair,nose", *made.options, "--json"]
    said = run("personalize", *options, "--set", "personalize.synthesis=false")
    assert said.code == 0, said.err
    (key,) = said.json["done"]
    assert key != made.said["personalize"].json["done"][0]
    out = tmp_path / "x.png"
    said = run("render", key, "--wear", "hair=painted-1", "--out", out, "--library", made.library, "--json")
    assert said.code == 0 and out.exists()
