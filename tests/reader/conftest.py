"""The tiny library, made once; who changes it takes a copy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pegasus_ray.library.library import Library
from tests.reader.small import write_avatars, write_tables


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that nobody changes."""
    folder = tmp_path_factory.mktemp("reader") / "people"
    library = Library(folder)
    write_tables(library)
    write_avatars(library)
    return folder


@pytest.fixture
def own(shared: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(shared, tmp_path / "people"))


@pytest.fixture(scope="session")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package of that name, with its cache in a folder of the tests'."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        datasets.disable_progress_bars()
        yield datasets
