"""With `--plan` the examinations of codes and transfers print all jobs that they need, and do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import run

SMALL = ["--attributes", "hair,hat", "--size", "32", "--frames", "10", "--plan", "--json"]


@pytest.mark.parametrize(
    ("exam", "options", "people", "models"),
    [("generative", [], 5, 2), ("generative", ["--baselines", ""], 5, 1), ("transfer", ["--users", "2"], 7, 1)],
)
def test_a_plan_names_everybody_s_work(tmp_path: Path, exam: str, options: list[str], people: int, models: int) -> None:
    said = run("evaluate", exam, *SMALL, *options, "--library", tmp_path / "exam")
    assert said.code == 0, said.err
    todo = {stage: count["to_do"] for stage, count in said.json["counts"].items()}
    assert todo == {"track": people, "fit": people, "swap": 4, "personalize": models}
    assert not (tmp_path / "exam").exists()


def test_a_baseline_that_there_is_not_is_refused_before_any_work(tmp_path: Path) -> None:
    said = run("evaluate", "generative", *SMALL[:-2], "--baselines", "guessing", "--library", tmp_path / "exam")
    assert (said.code, said.out) == (2, "") and "no_synthesis_latent_swap" in said.err
    assert not (tmp_path / "exam").exists()
