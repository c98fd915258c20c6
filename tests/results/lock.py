"""The lock on results: no change of what results are may go by without a new version of them.

A result's key holds the version of its format, so old results do not pass for new ones as long as somebody raises the version.
The lock file says for each stage which version goes with which source. `make check` runs `check`, which fails when the source of
a stage has changed and its version has not. There are two ways out:

- The results have changed: raise the version in `FORMAT_VERSIONS` (schemas/manifests.py) and run `make results-lock`.
- They have not: `make same-results` makes the results of a tiny run with the locked source and with today's, compares their
  payloads, and renews the lock where they are equal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, Stage
from tests.results.source import Tree, changed_files, digest_of_files

ROOT = Path(__file__).parents[2]
LOCK = Path(__file__).with_name("lock.json")
TINY_RUN = (Path(__file__).with_name("canonical.py"), ROOT / "tests" / "jobs" / "small.py")
TREE = Tree(
    package="pegasus_ray",
    root=ROOT,
    roots={stage.value: (f"pegasus_ray.jobs.{stage.value}",) for stage in Stage}
    | {Stage.TRACK.value: ("pegasus_ray.jobs.track", "pegasus_ray.jobs.studio")},
    without=(
        # how results are planned, stored, fetched and reported, which leaves their payloads as they are
        "pegasus_ray.jobs.memory",
        "pegasus_ray.jobs.stage_job",
        "pegasus_ray.jobs.work",
        "pegasus_ray.library.keys",
        "pegasus_ray.library.library",
        "pegasus_ray.library.mark",
        "pegasus_ray.library.records",
        "pegasus_ray.library.remote",
        "pegasus_ray.library.scratch",
        "pegasus_ray.library.shards",
        "pegasus_ray.library.storage",
        "pegasus_ray.library.versions",
        "pegasus_ray.library.videos",
        "pegasus_ray.perception.assets",
        "pegasus_ray.rig.cache",
        "pegasus_ray.schemas.errors",
        "pegasus_ray.schemas.manifests",
        "pegasus_ray.schemas.progress",
    ),
    data=("pegasus_ray/rig/data",),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Which version of each stage's results goes with which source."""

    python: str  # major.minor: another Python parses the same source to another tree
    versions: dict[str, int]
    digests: dict[str, str]  # of each stage's source
    files: dict[str, str] = field(default_factory=dict)  # of each file, so that a change can be named

    @staticmethod
    def of(files: Mapping[str, Mapping[str, str]], versions: Mapping[str, int]) -> Lock:
        """The lock of the files that each stage's results can depend on."""
        return Lock(
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            versions=dict(versions),
            digests={stage: digest_of_files(own) for stage, own in files.items()},
            files=dict(sorted({path: value for own in files.values() for path, value in own.items()}.items())),
        )


def unlocked(lock: Lock, files: Mapping[str, Mapping[str, str]], versions: Mapping[str, int]) -> dict[str, list[str]]:
    """The stages whose source is not the locked one although the version is, each with the files that differ."""
    now = Lock.of(files, versions)
    found = {}
    for stage, own in files.items():
        if lock.digests.get(stage) != now.digests[stage] and lock.versions.get(stage) == versions[stage]:
            gone = [path for path in lock.files if path not in now.files]
            found[stage] = changed_files(lock.files, now.files, [*own, *gone])
    return found


def read_lock(path: Path = LOCK) -> Lock:
    """The lock file."""
    return Lock(**json.loads(path.read_text()))


def write_lock(lock: Lock, path: Path = LOCK) -> None:
    """Write the lock file; a line a file, so that its changes can be read and merged."""
    path.write_text(json.dumps(asdict(lock), indent=1) + "\n")


def versions_now() -> dict[str, int]:
    """The version of each stage's results."""
    return {stage.value: FORMAT_VERSIONS[stage.kind] for stage in Stage}


def check() -> int:
    """Compare the source with the lock; 1 and a text where they do not agree."""
    lock, files, versions = read_lock(), TREE.files_of_stages(), versions_now()
    now = Lock.of(files, versions)
    if lock.python != now.python:
        print(f"results: locked with Python {lock.python}, which alone can compare the source; nothing was checked")
        return 0
    if found := unlocked(lock, files, versions):
        for stage, paths in found.items():
            print(f"results of {stage} may have changed: {', '.join(paths)}")
        print("If they have, raise FORMAT_VERSIONS in schemas/manifests.py and run `make results-lock`;")
        print("if they have not, `make same-results` shows it and renews the lock.")
        return 1
    if lock.versions != versions or lock.digests != now.digests:
        print("a version of results was raised: run `make results-lock`")
        return 1
    print(f"results: the source of {len(versions)} stages is as locked")
    return 0


def renew() -> int:
    """Write the lock where every stage whose source has changed has a new version."""
    files, versions = TREE.files_of_stages(), versions_now()
    found = unlocked(read_lock(), files, versions) if LOCK.exists() else {}
    if found:
        print(f"the version of {', '.join(found)} was not raised; see `make check`")
        return 1
    write_lock(Lock.of(files, versions))
    return 0


def renew_if_same() -> int:
    """Write the lock if a tiny run gives equal payloads with the locked source and with today's.

    The locked source is that of the last commit that changed the lock or the tiny run itself, which must agree with its lock.
    """
    locked = _git("log", "-1", "--format=%H", "--", str(LOCK), *map(str, TINY_RUN))
    with tempfile.TemporaryDirectory(prefix="pegasus-results-") as folder:
        before = Path(folder) / "before"
        _git("worktree", "add", "--detach", str(before), locked)
        try:
            _run(before, "tests.results.lock", "check")
            made = [_payloads(root, Path(folder) / name) for root, name in ((before, "locked"), (ROOT, "today"))]
        finally:
            _git("worktree", "remove", "--force", str(before))
    files, versions = TREE.files_of_stages(), versions_now()
    changed = unlocked(read_lock(), files, versions)
    differing = [stage for stage in changed if made[0][stage] != made[1][stage]]
    unseen = [stage for stage in changed if not made[1][stage]]
    for stage in changed:
        count = len(made[1][stage])
        print(f"{stage}: {'other payloads' if stage in differing else f'{count} payloads equal'}")
    if differing:
        print(f"raise the version of {', '.join(differing)} in schemas/manifests.py and run `make results-lock`")
    if unseen:
        print(f"nothing was made by {', '.join(unseen)}: `pegasus assets fetch models`, then again")
    if differing or unseen:
        return 1
    write_lock(Lock.of(files, versions))
    return 0


def _payloads(root: Path, folder: Path) -> dict[str, dict[str, str]]:
    """What the tiny run of a checkout makes."""
    made: dict[str, dict[str, str]] = json.loads(_run(root, "tests.results.canonical", str(folder)).splitlines()[-1])
    return made


def _run(root: Path, module: str, argument: str) -> str:
    """Run a module of a checkout in a process of its own; what it printed. Ends this process where it fails."""
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, argument]
    ran = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise SystemExit(f"{module} {argument} failed in {root}:\n{ran.stdout}{ran.stderr}")
    return ran.stdout


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


COMMANDS: dict[str, Callable[[], int]] = {"check": check, "renew": renew, "same": renew_if_same}

if __name__ == "__main__":
    raise SystemExit(COMMANDS[sys.argv[1]]())
