"""A studio person's clip with its truth, and the model files, fetched or skipped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pegasus_ray.library.track import Track
from pegasus_ray.perception.assets.files import fetch
from pegasus_ray.perception.nets.landmarks import FACE_MODEL, FaceMesh
from pegasus_ray.perception.nets.matte import MATTE_MODEL
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.errors import PegasusError


@dataclass(frozen=True, slots=True, kw_only=True)
class Filmed:
    """A video file and what is really in it."""

    path: Path
    truth: Track


@pytest.fixture(scope="session")
def models() -> None:
    """The face and matte models; without them (no network, no mirror) the tests that need them say so and are skipped."""
    try:
        fetch([FACE_MODEL, MATTE_MODEL])
    except PegasusError as error:
        pytest.skip(f"model files cannot be had: {error}")


@pytest.fixture(scope="session")
def mesh(models: None) -> FaceMesh:
    return FaceMesh(threads=1)


@pytest.fixture(scope="session")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """Six frames, a fifth of a second apart, of a studio person."""
    return film(5, tmp_path_factory.mktemp("filmed"))


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Filmed:
    """The same of another."""
    return film(11, tmp_path_factory.mktemp("other"))


def film(seed: int, folder: Path) -> Filmed:
    from pegasus_ray.studio.film.render import render_track
    from pegasus_ray.studio.motion import perform
    from pegasus_ray.studio.sampling import sample_person

    somebody = sample_person(seed)
    truth = render_track(somebody, perform(somebody, 6, fps=5.0), size=192, detail=0.4)
    path = folder / "somebody.mp4"
    write_video(list(truth.images), path, 5.0)
    return Filmed(path=path, truth=truth)
