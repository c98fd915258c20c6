"""A change of what results can be does not go by unseen: the lock names the stage and the files, and asks for a new version."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.results.lock import TREE, Lock, read_lock, unlocked, write_lock
from tests.results.source import Tree, digest_of_source

SOURCE = '''"""A module."""

LIMIT = 0.5
"""What it bounds."""


def halve(number: float) -> float:
    """Half of a number."""
    return LIMIT * number  # the limit is a half
'''
VERSIONS = {"fit": 4, "swap": 2}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Tree:
    """Two stages: `fit` needs `deep` through a function's own import; both need `store`, which is left out."""
    name = f"tiny_{abs(hash(request.node.name)) % 10**8}"
    folder = tmp_path / name
    folder.mkdir()
    (folder / "data").mkdir()
    (folder / "data" / "table.bin").write_bytes(b"1")
    modules = {
        "__init__": "",
        "deep": SOURCE,
        "store": "PLACE = 1\n",
        "fit": f"from {name}.store import PLACE\n\n\ndef fit():\n    from {name}.deep import halve\n    return halve(PLACE)\n",
        "swap": f"from {name}.store import PLACE\n",
    }
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    roots = {stage: (f"{name}.{stage}",) for stage in VERSIONS}
    return Tree(package=name, root=tmp_path, roots=roots, without=(f"{name}.store",), data=(f"{name}/data",))


def _write(tree: Tree, path: str, text: str) -> None:
    (tree.root / tree.package / path).write_text(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("# the limit is a half", "# and nothing else"),
        ('"""Half of a number."""', '"""Another description."""'),
        ('"""What it bounds."""', '"""Something else."""'),
        ("LIMIT * number", "(\n        LIMIT * number\n    )"),
    ],
)
def test_words_and_formatting_may_change(before: str, after: str) -> None:
    assert before in SOURCE and digest_of_source(SOURCE.replace(before, after)) == digest_of_source(SOURCE)


@pytest.mark.parametrize(("before", "after"), [("0.5", "0.25"), ("LIMIT * number", "number * LIMIT")])
def test_code_and_constants_may_not(before: str, after: str) -> None:
    assert before in SOURCE and digest_of_source(SOURCE.replace(before, after)) != digest_of_source(SOURCE)


def test_a_changed_constant_is_named_for_the_stage_that_can_reach_it_alone(tree: Tree) -> None:
    lock = Lock.of(tree.files_of_stages(), VERSIONS)
    assert unlocked(lock, tree.files_of_stages(), VERSIONS) == {}
    _write(tree, "deep.py", SOURCE.replace("0.5", "0.25"))
    assert unlocked(lock, tree.files_of_stages(), VERSIONS) == {"fit": [f"{tree.package}/deep.py"]}
    assert unlocked(lock, tree.files_of_stages(), VERSIONS | {"fit": 5}) == {}, "its version was raised"


def test_what_decides_no_payload_may_change(tree: Tree) -> None:
    lock = Lock.of(tree.files_of_stages(), VERSIONS)
    _write(tree, "store.py", "PLACE = 2\n")
    assert unlocked(lock, tree.files_of_stages(), VERSIONS) == {}


def test_data_and_new_and_lost_modules_count(tree: Tree) -> None:
    lock = Lock.of(tree.files_of_stages(), VERSIONS)
    (tree.root / tree.package / "data" / "table.bin").write_bytes(b"2")
    table = [f"{tree.package}/data/table.bin"]
    assert unlocked(lock, tree.files_of_stages(), VERSIONS) == {"fit": table, "swap": table}
    (tree.root / tree.package / "data" / "table.bin").write_bytes(b"1")
    _write(tree, "more.py", "MORE = 1\n")
    _write(tree, "swap.py", f"from {tree.package}.more import MORE\n")
    files = [f"{tree.package}/{path}" for path in ("more.py", "swap.py")]
    assert unlocked(lock, tree.files_of_stages(), VERSIONS) == {"swap": files}


def test_a_lock_survives_its_file(tree: Tree, tmp_path: Path) -> None:
    lock = Lock.of(tree.files_of_stages(), VERSIONS)
    write_lock(lock, tmp_path / "lock.json")
    assert read_lock(tmp_path / "lock.json") == lock


def test_every_stage_of_the_package_is_watched_down_to_the_rig() -> None:
    for stage, files in TREE.files_of_stages().items():
        assert {"pegasus_ray/rig/model.py", f"pegasus_ray/stages/{stage}.py"} <= files.keys()
        assert "pegasus_ray/library/storage.py" not in files
