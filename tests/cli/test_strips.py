"""Interpolation strips begin and end with the two codes' own pictures; models of fields are drawn like any other."""

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


def test_a_model_of_fields_is_worn_mixed_laid_out_and_lent_as_any_other(made: Made, tmp_path: Path) -> None:
    options = ["--target", "painted-0", "--attributes", "hair,nose", *made.options, "--json"]
    said = run("personalize", *options, *(word for setting in FIELDS for word in ("--set", setting)))
    assert said.code == 0, said.err
    (model,) = said.json["done"]
    names = ["plain", "worn", "mixed", "strip"]
    pictures = {name: tmp_path / f"{name}.png" for name in names}
    asked = {
        "plain": [],
        "worn": ["--wear", "hair=painted-1"],
        "mixed": ["--mix", "nose=own:painted-1:0.5", "--wear", "hair=painted-1"],
        "strip": ["--strip", "hair=own:painted-1", "--steps", "2"],
    }
    for name, words in asked.items():
        one = [] if name == "strip" else ["--unseen", "--frames", "1"]
        said = run("render", model, *words, *one, "--out", pictures[name], "--library", made.library, "--json")
        assert said.code == 0, said.err
    seen = {name: cv2.imread(str(path)) for name, path in pictures.items()}
    assert np.array_equal(seen["strip"][:, :48], seen["plain"])
    assert np.array_equal(seen["strip"][:, -48:], seen["worn"])
    assert not np.array_equal(seen["worn"], seen["plain"]) and not np.array_equal(seen["mixed"], seen["worn"])
    given = ("--source", model, "--user", "painted-1", "--attributes", "hair", "--code", "hair=painted-1")
    said = run("transfer", *given, *made.options, "--json")
    assert said.code == 0 and len(said.json["done"]) == 1, said.err


FIELDS = (
    "personalize.fields.stages=[{scale = 1.0, steps = 2}, {scale = 1.0, steps = 2}]",
    "personalize.fields.fields.field_width=16",
    "personalize.fields.fields.deformer_width=8",
    "personalize.fields.fields.shading_width=8",
    "personalize.fields.fields.own_looks=true",
    "personalize.fields.settle_steps=4",
    "personalize.fields.refine_tracking=false",
)
"""The smallest fields there are."""
