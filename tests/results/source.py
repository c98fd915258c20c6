"""The source that a stage's results can depend on: the modules that it imports, directly or through others, and their digests.

A digest covers what Python executes. Comments, docstrings and formatting can change freely.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grimp

DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A package whose results are watched."""

    package: str
    root: Path  # the folder that holds it
    roots: Mapping[str, Sequence[str]]  # the modules of each stage, whose imports are followed
    without: tuple[str, ...] = ()  # modules, or packages with all in them, that decide nothing about a payload
    data: tuple[str, ...] = ()  # folders of data files that every stage may read, relative to `root`

    def files_of_stages(self) -> dict[str, dict[str, str]]:
        """For each stage the files that its results can depend on, relative to `root`, with their digests."""
        graph = grimp.build_graph(self.package, cache_dir=None)
        data = {path: _digest_of_bytes(self.root / path) for path in self._data_files()}
        digests: dict[str, str] = {}
        found = {}
        for stage, roots in self.roots.items():
            modules = {*roots, *(name for module in roots for name in graph.find_upstream_modules(module))}
            paths = sorted(str(self._file_of(name)) for name in modules if not self._is_left_out(name))
            for path in paths:
                digests.setdefault(path, digest_of_source((self.root / path).read_text()))
            found[stage] = {path: digests[path] for path in paths} | data
        return found

    def _data_files(self) -> list[str]:
        files = (path for folder in self.data for path in (self.root / folder).rglob("*"))
        return sorted(str(path.relative_to(self.root)) for path in files if path.is_file() and path.suffix != ".pyc")

    def _is_left_out(self, module: str) -> bool:
        return any(module == name or module.startswith(f"{name}.") for name in self.without)

    def _file_of(self, module: str) -> Path:
        path = Path(*module.split("."))
        package = path / "__init__.py"
        return package if (self.root / package).is_file() else path.with_suffix(".py")


def digest_of_source(text: str) -> str:
    """The digest of a module's code, without comments, docstrings and formatting."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:DIGITS]


def digest_of_files(files: Mapping[str, str]) -> str:
    """One digest of files and their digests."""
    lines = "\n".join(f"{path} {digest}" for path, digest in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()[:DIGITS]


def changed_files(before: Mapping[str, str], after: Mapping[str, str], among: Iterable[str]) -> list[str]:
    """Which of some files differ between two sets of digests, or are in one of them alone."""
    return sorted(path for path in set(among) if before.get(path) != after.get(path))


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is a bare string: a docstring, or the description below a constant."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _digest_of_bytes(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS]
