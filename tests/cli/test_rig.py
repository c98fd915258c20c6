"""`pegasus rig` refuses a hostile file without running it, and names a rig that is missing together with the way out."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from tests.cli.conftest import Pegasus
from tests.rig.flame_shaped import random_model


class Hostile:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, (self.command,))


def test_a_pickle_that_asks_for_a_call_is_refused_and_nothing_is_kept(
    pegasus: Pegasus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path / "cache"))
    file, alarm = tmp_path / "model.pkl", tmp_path / "alarm"
    file.write_bytes(pickle.dumps(dict(random_model()) | {"J": Hostile(f"touch {alarm}")}, protocol=2))
    said = pegasus("rig", "import-flame", str(file), "--json")
    assert said.code != 0 and "system" in said.err and "model.pkl" in said.err
    assert not alarm.exists() and not (tmp_path / "cache" / "rigs").exists()


def test_a_rig_that_is_not_here_is_named_with_the_way_out(
    pegasus: Pegasus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path / "cache"))
    said = pegasus("rig", "info", "mine", "--json")
    assert said.code != 0 and "import-flame" in said.err
    assert pegasus("rig", "import-flame", "x.pkl", "--name", "Not A Name").code != 0


def test_the_licence_is_told_before_anything_is_imported(pegasus: Pegasus) -> None:
    said = " ".join(pegasus("rig", "import-flame", "--help").out.split())
    assert "Max Planck" in said and "non-commercial" in said and "CC BY 4.0" in said and "not shipped" in said
    assert "Example: pegasus rig import-flame generic_model.pkl" in said
