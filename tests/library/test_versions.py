"""A manifest says which software made its result: the packages and, from a checkout, the commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pegasus_ray.library.versions import commit_of, installed_versions


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_checkout_is_known_by_its_commit_and_by_changes_to_it(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == ""
    _git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) == "", "without any commit"
    (tmp_path / "a.py").write_text("A = 1")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-q", "-m", "first")
    _git(tmp_path, "tag", "v1")
    commit = _git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(tmp_path) == commit
    (tmp_path / "new.py").write_text("")
    assert commit_of(tmp_path) == commit, "what is not tracked does not count"
    (tmp_path / "a.py").write_text("A = 2")
    assert commit_of(tmp_path) == f"{commit}-dirty"


def test_packages_are_named() -> None:
    assert {"python", "pegasus-ray", "torch", "numpy"} <= installed_versions().keys()
    assert all(installed_versions().values())
