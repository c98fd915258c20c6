"""Shared options: preset, file, flags and `--set` give one configuration in which the later win over the earlier."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from pegasus_ray.cli.options import Place, Run, assignments_of, attributes_of, command
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.config import PRESETS, preset


def test_set_wins_over_flags_and_flags_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[fit]\nseed = 1\n[track.observe]\nsize = 64\nmax_frames = 50\n[engine]\nworkers = 3\n")
    run = Run(config=file, set=["fit.seed=2", "engine.cpus=0.5"])
    made = run.pipeline({"track": {"observe": {"size": 96}}})
    assert (made.fit.seed, made.track.observe.size, made.track.observe.max_frames) == (2, 96, 50)
    engine = run.engine_config()
    assert (engine.workers, engine.cpus, engine.kind) == (3, 0.5, "ray")
    assert made.swap == preset("fast").swap


def test_presets_differ_and_are_named() -> None:
    assert PRESETS["fast"] != PRESETS["draft"]
    with pytest.raises(PegasusError, match="fast, draft"):
        preset("fine")


def test_a_group_of_options_becomes_options_in_its_place() -> None:
    seen: list[tuple[str, Place]] = []

    @command
    def speak(word: str = "a", *, place: Place, loud: bool = False) -> None:
        seen.append((word, place))

    assert list(inspect.signature(speak).parameters) == ["word", "library", "json", "loud"]
    speak(word="b", library="there", json=True, loud=False)
    assert seen == [("b", Place(library="there", json=True))]


def test_lists_of_attributes() -> None:
    assert attributes_of(" hair, nose ,hair") == (Attribute.HAIR, Attribute.NOSE)
    assert attributes_of("") == ()
    assert assignments_of(["hair=a=b"]) == {Attribute.HAIR: "a=b"}
    for bad in ("hair", "hair=", "=a", "hare=a", "hair,nose=a"):
        with pytest.raises(PegasusError):
            assignments_of([bad])
