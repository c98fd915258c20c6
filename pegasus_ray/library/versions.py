"""Which software made a result, for its manifest."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("pegasus-ray", "torch", "numpy", "pyarrow", "opencv-contrib-python", "warp-lang", "ray")
ROOT = Path(__file__).parents[2]  # what holds the package: a checkout, or where it is installed
GIT_SECONDS = 10  # after which a manifest does without the commit


def installed_versions() -> dict[str, str]:
    """Versions of the software that may influence a result: by package and, where it runs from a checkout, its commit."""
    return dict(_versions())


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}
    found["commit"] = commit_of(ROOT)
    return tuple((name, version) for name, version in found.items() if version)


def commit_of(folder: Path) -> str:
    """The commit of a checkout, with `-dirty` where tracked files differ from it; empty for a folder that is none."""
    if not (folder / ".git").exists():
        return ""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no repository of this user's
        return ""
    return ran.stdout.strip()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
