"""What is observed of a filmed person is the truth in the chosen square; frames without a face are left out and named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.perception.footage.crop import resize
from pegasus_ray.perception.observe import Observations, ObserveConfig, observe
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.errors import DropReason, PegasusError, Reason
from pegasus_ray.schemas.parts import Label
from tests.perception.conftest import Filmed

CONFIG = ObserveConfig(size=128, parser="landmarks", min_frames=3, threads=1)


@pytest.fixture(scope="module")
def seen(models: None, filmed: Filmed) -> Observations:
    told: list[tuple[float, str]] = []
    observations = observe(filmed.path, CONFIG, lambda share, text: told.append((share, text)))
    assert [text for _, text in told] == [
        f"{step} {done}/6" for step in ("landmarks", "mattes", "parts") for done in range(1, 7)
    ]
    shares = [share for share, _ in told]
    assert shares == sorted(set(shares))
    assert shares[0] > 0
    assert shares[-1] == 1
    return observations


def test_frames_are_all_there_and_fit_together(seen: Observations) -> None:
    assert len(seen) == 6
    assert seen.images.shape == (6, 128, 128, 3)
    assert seen.mattes.shape == seen.parts.shape == (6, 128, 128)
    assert seen.landmarks.shape == (6, 478, 2)
    assert seen.blendshapes.shape == (6, 52)
    assert seen.indices.tolist() == list(range(6))
    assert np.allclose(seen.times, np.arange(6) / 5, atol=1e-3)
    assert seen.dropped == ()
    assert (seen.quality > 0).all()
    assert (seen.quality <= 1).all()
    assert ((seen.parts == Label.BACKGROUND) == (seen.mattes <= 127)).all()
    assert {name for name, _ in seen.models} >= {"face_landmarker.task", "selfie_segmentation.tflite"}


def test_the_matte_is_the_truth(seen: Observations, filmed: Filmed) -> None:
    for matte, truth in zip(seen.mattes, filmed.truth.mattes, strict=True):
        cropped = resize(seen.crop.take(truth[..., None].repeat(3, 2))[..., 0].copy(), 128)
        both, either = (matte > 127) & (cropped > 127), (matte > 127) | (cropped > 127)
        assert both.sum() / either.sum() > 0.93


def test_landmarks_and_principal_point_are_in_the_squares_fractions(seen: Observations, filmed: Filmed) -> None:
    side = filmed.truth.size
    truth = seen.crop.fractions(filmed.truth.landmarks * side)
    eyes = np.hypot(*(truth[:, 33] - truth[:, 263]).T)
    assert (np.hypot(*np.moveaxis(truth - seen.landmarks, -1, 0)).mean(1) < 0.12 * eyes).all()
    assert np.allclose(np.array(seen.centre) * seen.crop.side + (seen.crop.x, seen.crop.y), side / 2)


def test_frames_without_a_face_are_left_out_and_named(models: None, filmed: Filmed, tmp_path: Path) -> None:
    images = list(filmed.truth.images)
    blank = np.full_like(images[0], 90)
    path = tmp_path / "gaps.mp4"
    write_video([images[0], blank, images[1], images[2], blank, images[3]], path, 5.0)
    seen = observe(path, CONFIG)
    assert seen.indices.tolist() == [0, 2, 3, 5]
    assert seen.dropped == ((1, DropReason.NO_FACE), (4, DropReason.NO_FACE))


def test_a_video_of_nobody_is_refused(models: None, filmed: Filmed, tmp_path: Path) -> None:
    blank = np.full_like(filmed.truth.images[0], 90)
    path = tmp_path / "nobody.mp4"
    write_video([blank] * 5 + [filmed.truth.images[0]], path, 5.0)
    with pytest.raises(PegasusError) as caught:
        observe(path, CONFIG)
    assert caught.value.reason is Reason.NO_FACE
    assert "1 of 6" in caught.value.message


def test_too_few_faces_and_bad_settings_are_refused(models: None, filmed: Filmed) -> None:
    with pytest.raises(PegasusError) as caught:
        observe(filmed.path, ObserveConfig(min_frames=7, max_frames=9))
    assert caught.value.reason is Reason.TOO_FEW_FRAMES
    for settings in ({"size": 8}, {"min_frames": 9, "max_frames": 4}):
        with pytest.raises(PegasusError) as caught:
            ObserveConfig(**settings)
        assert caught.value.reason is Reason.BAD_CONFIG
