"""A library of two painted people made by the commands themselves, with the smallest settings there are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from pegasus_ray.cli.main import app
from pegasus_ray.library.library import Library
from pegasus_ray.library.tracks import save_track
from pegasus_ray.schemas.manifests import Kind, Provenance
from tests.painted import painted_track

TINY = """
[fit]
stages = [{scale = 1.0, steps = 6}]
[fit.budget]
surface = 1500
hair = 600
cloth = 100
[swap]
frames = 3
[personalize]
own_frames = 4
least_quality = 0.0
[personalize.fit]
target_steps = 2
swap_steps = 3
"""


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Pegasus = Callable[..., Said]


def run(*arguments: str | Path) -> Said:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Said(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def pegasus() -> Pegasus:
    return run


@dataclass(frozen=True)
class Made:
    """A library that the commands have filled, and what each said."""

    library: Path
    config: Path
    said: dict[str, Said]

    @property
    def options(self) -> list[str]:
        return ["--library", str(self.library), "--config", str(self.config), "--engine", "inline"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    threads = torch.get_num_threads()
    folder = tmp_path_factory.mktemp("cli")
    config = folder / "tiny.toml"
    config.write_text(TINY)
    made = Made(folder / "library", config, {})
    library = Library(made.library)
    for seed in (0, 1):
        save_track(library, f"{seed:016x}", painted_track(seed, 48, 8), Provenance(source=f"painted-{seed}"))
    made.said["build-db"] = run("build-db", "painted-0", "painted-1", *made.options, "--json")
    chosen = ("--target", "painted-0", "--attributes", "hair,nose")
    made.said["synthesize"] = run("synthesize", *chosen, *made.options, "--json")
    made.said["personalize"] = run("personalize", *chosen, *made.options, "--json")
    model = library.keys(Kind.MODELS)[0] if library.keys(Kind.MODELS) else "none"
    given = ("--source", model, "--user", "painted-1", "--attributes", "hair", "--code", "hair=painted-1")
    made.said["transfer"] = run("transfer", *given, *made.options, "--json")
    yield made
    torch.set_num_threads(threads)
