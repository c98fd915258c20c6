"""Invariants of `pegasus run`: one command goes from tracks to generative avatars and dressed users; a source that fails costs
itself alone; a killed run goes on; a second one does nothing; a plan counts and makes nothing. And those of many targets in one
command.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pegasus_ray.jobs.swap import SwapJob
from pegasus_ray.library.library import Library
from pegasus_ray.library.tracks import save_track
from pegasus_ray.schemas.manifests import Kind, Provenance
from tests.cli.conftest import TINY, Said, run
from tests.painted import painted_track

PLAN = """
attributes = ["hair", "nose"]
[sources]
names = ["painted-0", "painted-1"]
paths = ["gone.mp4"]
consent = "theirs"
[targets]
names = "all"
[users]
names = ["painted-2", "painted-3"]
models = ["painted-0"]
[users.wear]
hair = "painted-1"
nose = "any"
[settings]
fit.seed = 3
"""


class Folder:
    """A plan file, and the library of tracks that it is about."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.library, self.file = folder, folder / "library", folder / "plan.toml"

    def fill(self) -> Folder:
        self.file.write_text(PLAN)
        (self.folder / "tiny.toml").write_text(TINY)
        for seed in range(4):
            track = painted_track(seed, 48, 8)
            save_track(Library(self.library), f"{seed:016x}", track, Provenance(source=f"painted-{seed}"))
        return self

    @property
    def options(self) -> list[str]:
        return ["--library", str(self.library), "--config", str(self.folder / "tiny.toml"), "--engine", "inline"]

    def run(self, *more: str) -> Said:
        return run("run", self.file, *self.options, "--json", *more)

    def counts(self) -> dict[str, int]:
        return {kind.value: len(Library(self.library).keys(kind)) for kind in Kind}


WHOLE = {"tracks": 4, "avatars": 4, "swaps": 4, "models": 2, "transfers": 2}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Folder, Said]]:
    """A run that was stopped at its third swap."""
    threads = torch.get_num_threads()
    made = Folder(tmp_path_factory.mktemp("run")).fill()
    begun = []
    with pytest.MonkeyPatch.context() as patch:
        make = SwapJob.run

        def stop_at_the_third(job, library, progress, scratch):
            begun.append(job.key)
            if len(begun) == 3:
                raise KeyboardInterrupt
            return make(job, library, progress, scratch)

        patch.setattr(SwapJob, "run", stop_at_the_third)
        said = made.run()
    yield made, said
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def done(killed: tuple[Folder, Said], tmp_path_factory: pytest.TempPathFactory) -> tuple[Folder, Said]:
    """The same run, gone on."""
    made = Folder(tmp_path_factory.mktemp("again") / "run")
    shutil.copytree(killed[0].folder, made.folder)
    return made, made.run()


def stages(said: Said, status: str) -> Counter[str]:
    return Counter(item["stage"] for item in said.json["items"] if item["status"] == status)


def test_the_command_explains_itself() -> None:
    said = run("run", "--help")
    assert said.code == 0
    assert "Example: pegasus run plan.toml" in " ".join(said.out.split())


def test_a_plan_counts_and_makes_nothing(tmp_path: Path) -> None:
    fresh = Folder(tmp_path).fill()
    before = sorted(fresh.library.rglob("*"))
    said = fresh.run("--plan")
    assert said.code == 0
    assert said.json["counts"] == {"fit": {"to_do": 4, "done": 0}}
    assert "2 targets, 2 users: at most 4 swaps, 2 generative avatars and 2 transfers" in said.json["remarks"][0]
    assert [Path(told["input"]).name for told in said.json["failed"]] == ["gone.mp4"]
    assert sorted(fresh.library.rglob("*")) == before


def test_a_killed_run_goes_on_to_two_models_and_two_dressed_users(
    killed: tuple[Folder, Said], done: tuple[Folder, Said]
) -> None:
    begun, stopped = killed
    assert (stopped.code, begun.counts()["swaps"]) == (130, 2)
    there = sum(begun.counts().values()) - 4
    made, said = done
    assert said.code == 1, "a source is not there"
    assert made.counts() == WHOLE
    assert [told["reason"] for told in said.json["failed"]] == ["not_found"]
    assert len(said.json["done"]) == 2, "the dressed users"
    assert sum(stages(said, "skipped").values()) == there
    assert "painted-0: 1 of 3 sources have no avatar" in said.err
    for key in Library(made.library).keys(Kind.AVATARS):
        manifest = Library(made.library).expect(Kind.AVATARS, key)
        assert (manifest.config["seed"], len(manifest.config["stages"])) == (3, 1), "by the plan file, and by --config"


def test_a_second_run_does_nothing(done: tuple[Folder, Said]) -> None:
    made, _ = done
    said = made.run()
    assert stages(said, "done") == {}
    assert stages(said, "skipped") == {"fit": 4, "swap": 4, "personalize": 2, "transfer": 2}
    assert made.counts() == WHOLE
    plan = made.run("--plan").json["counts"]
    assert plan["transfer"] == {"to_do": 0, "done": 2} and plan["swap"] == {"to_do": 0, "done": 4}


def test_the_single_commands_find_all_done_for_several_targets_at_once(done: tuple[Folder, Said]) -> None:
    made, _ = done
    chosen = ("--attributes", "hair,nose", "--avatars", "painted-0,painted-1", "--set", "fit.seed=3")
    for command, kind, count in (("synthesize", Kind.SWAPS, 4), ("personalize", Kind.MODELS, 2)):
        said = run(command, "--target", "painted-0,painted-1", *chosen, *made.options, "--json")
        assert (said.code, said.json["done"]) == (0, []), said.err
        assert sorted(said.json["skipped"]) == sorted(Library(made.library).keys(kind))
        assert len(said.json["skipped"]) == count


def test_all_targets_are_planned_and_one_of_several_that_cannot_be_fails_alone(done: tuple[Folder, Said]) -> None:
    made, _ = done
    shared = ("--attributes", "hair", "--set", "fit.seed=3", *made.options, "--json")
    said = run("synthesize", "--target", "all", "--plan", *shared)
    assert said.json["counts"]["swap"] == {"to_do": 4 * 3 - 2, "done": 2}
    several = run("personalize", "--target", "painted-0,painted-3,nobody", "--avatars", "painted-1", "--plan", *shared)
    assert several.json["counts"]["personalize"] == {"to_do": 1, "done": 0}
    assert [told["reason"] for told in several.json["failed"]] == ["bad_reference", "bad_reference"]
    assert run("personalize", "--target", "nobody", *shared).code == 2
    assert run("personalize", "--target", ",", *shared).code == 2


def test_a_file_that_is_wrong_is_told_in_a_sentence(tmp_path: Path) -> None:
    fresh = Folder(tmp_path).fill()
    fresh.file.write_text(PLAN.replace("[targets]", "[target]"))
    said = fresh.run()
    assert said.code == 2
    assert said.json["error"]["reason"] == "bad_config"
    assert "target" in said.json["error"]["subject"] and "plan.toml" in said.json["error"]["subject"]
    fresh.file.write_text(PLAN.replace("fit.seed = 3", "fit.sede = 3"))
    assert fresh.run().json["error"]["subject"] == "fit.sede"
    assert run("run", tmp_path / "none.toml", *fresh.options, "--json").json["error"]["reason"] == "not_found"
    fresh.file.write_text('preset = "slow"\n' + PLAN)
    assert fresh.run("--plan").json["error"]["subject"] == "slow"
    assert fresh.run("--plan", "--preset", "draft").code == 0, "the command line goes before the file"
