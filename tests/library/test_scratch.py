"""What a killed stage leaves in its scratch folder is there for the next attempt, for any kind of library; success removes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pegasus_ray.library import scratch
from pegasus_ray.library.library import Library
from pegasus_ray.library.scratch import open_scratch
from pegasus_ray.library.sweep import sweep
from pegasus_ray.schemas.manifests import Kind, Provenance, Stage

KEY = "00000000000000aa"


@pytest.fixture(params=["folder", "memory"])
def library(request: pytest.FixtureRequest, tmp_path: Path) -> Library:
    return Library(tmp_path / "lib" if request.param == "folder" else f"memory://{request.node.name}-{tmp_path.name}")


def leave(library: Library, text: str) -> None:
    with pytest.raises(KeyboardInterrupt), open_scratch(library, Stage.FIT, KEY) as kept:
        (kept.folder / "state").write_text(text)
        raise KeyboardInterrupt


def test_a_kill_keeps_the_checkpoint_and_success_removes_it(library: Library) -> None:
    leave(library, "step 5")
    with open_scratch(library, Stage.FIT, KEY) as kept:
        assert (kept.folder / "state").read_text() == "step 5"
    with open_scratch(library, Stage.FIT, KEY) as kept:
        assert list(kept.folder.iterdir()) == []


def test_a_remote_library_gets_copies_while_the_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(f"memory://copies-{tmp_path.name}")
    with open_scratch(library, Stage.FIT, KEY) as kept:
        (kept.folder / "state").write_text("step 5")
        kept.keep()
        assert library.storage.files(f"checkpoints/fit-{KEY}") == [], "too soon"
        monkeypatch.setattr(scratch, "COPY_EVERY_SECONDS", 0.0)
        kept.keep()
        assert library.storage.read(f"checkpoints/fit-{KEY}/state") == b"step 5"


def test_gc_removes_checkpoints_of_finished_results(library: Library) -> None:
    leave(library, "step 5")
    assert sweep(library, grace=1000).moved == ()
    library.commit(Kind.AVATARS, KEY, {"a": b"1"}, Provenance())
    assert sweep(library, grace=1000).moved == (f"checkpoints/fit-{KEY}",)
    with open_scratch(library, Stage.FIT, KEY) as kept:
        assert list(kept.folder.iterdir()) == []
