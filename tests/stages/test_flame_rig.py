"""Invariants of working with an imported rig: it follows a person of the open rig, and avatars are fitted and drawn on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pegasus_ray.avatar.fit.config import FitConfig, Resolution
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.library.track import Track
from pegasus_ray.perception.embedding import measure_embedding
from pegasus_ray.perception.nets.landmarks import FaceMesh
from pegasus_ray.perception.tracking.fit_rig import FitRigConfig, fit_landmarks
from pegasus_ray.perception.tracking.landmark_problem import LandmarkSequence
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig, interpolate_on_surface, rodrigues
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part
from pegasus_ray.stages import import_rig
from pegasus_ray.stages.fit import fit
from pegasus_ray.stages.import_rig import import_flame
from pegasus_ray.stages.render import render_clip
from pegasus_ray.studio.cast import demo_people
from pegasus_ray.studio.film.render import render_track
from pegasus_ray.studio.motion import perform
from tests.rig.flame_shaped import head_model, write_pickle

TINY = FitConfig(stages=(Resolution(scale=1.0, steps=12),), budget=PointBudget(surface=1200, hair=600, cloth=300))


@pytest.fixture(scope="module")
def flame(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    """A FLAME-shaped head, imported on a machine without the landmark model, and loaded by its name."""
    folder = tmp_path_factory.mktemp("flame")

    def missing() -> None:
        raise PegasusError(Reason.ASSET_MISSING, "not fetched")

    with pytest.MonkeyPatch.context() as patch:
        model = head_model(load_rig())
        patch.setenv("PEGASUS_CACHE", str(folder))
        patch.setattr(import_rig, "FaceMesh", missing)
        imported = import_flame(write_pickle(model, folder / "model.pkl"), "flame-shaped", lambda *_: None)
        assert imported.landmarks == "transferred" and imported.path.is_file()
        return load_rig("flame-shaped")


@pytest.fixture(scope="module")
def truth() -> Track:
    person = demo_people().everyone[0]
    return render_track(person, perform(person, 12), size=48, detail=0.2)


@pytest.fixture(scope="module")
def tracked(flame: Rig, truth: Track) -> Track:
    seen = LandmarkSequence(
        landmarks=torch.from_numpy(truth.landmarks),
        blendshapes=torch.from_numpy(truth.blendshapes),
        times=torch.from_numpy(truth.times),
        centre=(float(truth.camera[0, 1]), float(truth.camera[0, 2])),
        focal=float(truth.camera[0, 0]),
    )
    found = fit_landmarks(flame, seen, FitRigConfig())
    assert np.median(found.error) < 1.5, "percent of the outer-eye distance"
    fitted = {name: getattr(found, name) for name in ("shape", "expression", "head", "camera")}
    return replace(truth, rig=flame.name, torso=found.head, **fitted)


def test_it_follows_another_rigs_person(flame: Rig, truth: Track, tracked: Track) -> None:
    apart = rodrigues(torch.from_numpy(truth.head[:, :3])).mT @ rodrigues(torch.from_numpy(tracked.head[:, :3]))
    off = torch.rad2deg(torch.arccos(((apart.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)))
    assert (off - off.median()).abs().median() < 1.5 and off.median() < 5, "two faces may differ by a constant tilt"
    low, high = flame.expression_limits
    inside = (torch.from_numpy(tracked.expression) > low - 0.3) & (torch.from_numpy(tracked.expression) < high + 0.3)
    assert inside.float().mean() > 0.98


def test_an_avatar_is_fitted_and_drawn_on_it(flame: Rig, tracked: Track) -> None:
    found = fit(tracked, TINY)
    avatar = found.avatar
    assert avatar.rig == flame.name and len(avatar.shape) == 300
    assert avatar.canonical(avatar.anchors(flame)).pose_basis.shape[0] == 36
    frames = np.stack(list(render_clip(avatar, tracked, frames=[0, 11])))
    assert frames.shape == (2, 48, 48, 3) and frames.std() > 20
    labels = set(avatar.part_logits.argmax(1).tolist())
    assert {int(Part.SKIN), int(Part.MOUTH), int(Part.CLOTH)} <= labels
    other = torch.ones(300)
    assert torch.equal(flame.mix_shape(avatar.shape, other, Attribute.NOSE), avatar.shape)


@pytest.mark.parametrize("name", ["open", "Flame", "../x", ""])
def test_what_cannot_be_a_name_is_refused_before_anything_is_read(name: str) -> None:
    with pytest.raises(PegasusError) as caught:
        import_flame(Path("none.pkl"), name, lambda *_: None)
    assert caught.value.reason is Reason.BAD_REFERENCE


@pytest.mark.slow
def test_landmarks_are_measured_where_the_detector_is_here(flame: Rig) -> None:
    try:
        detector = FaceMesh()
    except PegasusError:
        pytest.skip("the landmark model is not on this machine")
    found = measure_embedding(flame, detector)
    known = (found.weights > 0) & (flame.landmarks.weights > 0)
    assert known.sum() >= import_rig.MIN_MEASURED_LANDMARKS
    measured, carried = (
        interpolate_on_surface(flame.template, flame.faces, places.triangles, places.barycentric)[known]
        for places in (found, flame.landmarks)
    )
    assert (measured - carried).norm(dim=1).median() < 0.004, "two ways to nearly the same places"
