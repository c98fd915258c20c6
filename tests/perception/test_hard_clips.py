"""Clips as people really send them: each is used as far as it goes, or refused with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from pegasus_ray.perception.assets.files import fetch
from pegasus_ray.perception.footage.shots import View
from pegasus_ray.perception.nets.bisenet import BISENET_MODEL
from pegasus_ray.perception.nets.identity import DLIB_MODEL
from pegasus_ray.perception.observe import Observations, ObserveConfig, observe
from pegasus_ray.render.video import write_video
from pegasus_ray.schemas.errors import DropReason, PegasusError, Reason
from tests.perception.conftest import Filmed
from tests.perception.videos import turn

CONFIG = ObserveConfig(size=96, parser="landmarks", identity="none", min_frames=3, threads=1)
SIDE = 192


def seen_in(images: Sequence[np.ndarray], path: Path, config: ObserveConfig = CONFIG) -> Observations:
    write_video([np.ascontiguousarray(image) for image in images], path, 5.0)
    return observe(path, config)


def needs(*names: str) -> None:
    try:
        fetch(names)
    except PegasusError as error:
        pytest.skip(f"model files cannot be had: {error}")


def on_wall(filmed: Filmed, colour: tuple[int, int, int]) -> list[np.ndarray]:
    """The same frames before another wall."""
    share = filmed.truth.mattes[..., None] / 255
    return list((filmed.truth.images * share + np.array(colour) * (1 - share)).astype(np.uint8))


def test_of_two_people_the_nearer_is_kept_alone(models: None, filmed: Filmed, other: Filmed, tmp_path: Path) -> None:
    pairs = []
    for near, far in zip(filmed.truth.images, other.truth.images, strict=True):
        small = np.pad(cv2.resize(far, (144, 144)), ((48, 0), (0, 0), (0, 0)), mode="edge")
        pairs.append(np.concatenate([near, small], 1))
    together = seen_in(pairs, tmp_path / "two.mp4")
    alone = seen_in(filmed.truth.images, tmp_path / "one.mp4")
    assert together.indices.tolist() == alone.indices.tolist() == list(range(6))
    assert together.accompanied == 6
    assert together.summary()["frames_with_others"] == 6
    assert "frames_with_others" not in alone.summary()
    shift = np.array([together.crop.x - alone.crop.x, together.crop.y - alone.crop.y])
    apart = together.landmarks * together.crop.side + shift - alone.landmarks * alone.crop.side
    assert np.abs(apart).mean() < 1.5, "pixels: the same person's landmarks"
    beyond = round((SIDE - together.crop.x + 12) / together.crop.side * 96)
    assert (together.mattes[:, :, max(beyond, 0) : 96] < 128).all(), "nothing of the neighbour"


def test_after_a_cut_the_longer_shot_is_kept(models: None, filmed: Filmed, other: Filmed, tmp_path: Path) -> None:
    images = [*list(filmed.truth.images)[:3], *on_wall(other, (60, 90, 160))]
    seen = seen_in(images, tmp_path / "cut.mp4")
    assert seen.indices.tolist() == list(range(3, 9))
    assert seen.dropped == tuple((index, DropReason.ANOTHER_SHOT) for index in range(3))
    assert seen.summary()["dropped_another_shot"] == 3


def test_two_people_before_the_same_wall_are_never_one(
    models: None, filmed: Filmed, other: Filmed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs(DLIB_MODEL)
    images = [*filmed.truth.images, *other.truth.images]
    kept = seen_in(images, tmp_path / "cut.mp4").indices
    assert (kept < 6).all() or (kept >= 6).all()
    monkeypatch.setattr(View, "continues", lambda self, earlier: True)  # a cut that nothing shows
    with pytest.raises(PegasusError) as caught:
        seen_in(images, tmp_path / "becomes.mp4", replace(CONFIG, identity="dlib", size=160))
    assert caught.value.reason is Reason.SEVERAL_PEOPLE


def test_a_face_that_leaves_is_kept_while_it_is_whole(models: None, filmed: Filmed, tmp_path: Path) -> None:
    still = filmed.truth.images[0]
    moves = [0, 0, 0, 0, 30, 60, 90, 120, 150]
    images = [np.concatenate([still[:, :1].repeat(by, 1), still[:, : SIDE - by]], 1) for by in moves]
    seen = seen_in(images, tmp_path / "leaves.mp4")
    assert seen.indices.tolist()[:4] == [0, 1, 2, 3]
    lost = dict(seen.dropped)
    assert {lost[7], lost[8]} == {DropReason.LEAVES_PICTURE}


def test_grey_and_turned_clips_are_seen_as_the_others(models: None, filmed: Filmed, tmp_path: Path) -> None:
    grey = [image.mean(-1, keepdims=True).repeat(3, -1).astype(np.uint8) for image in filmed.truth.images]
    assert len(seen_in(grey, tmp_path / "grey.mp4")) == 6
    path = tmp_path / "turned.mp4"
    wide = [
        np.ascontiguousarray(np.rot90(np.pad(i, ((24, 24), (0, 0), (0, 0)), mode="edge"))) for i in filmed.truth.images
    ]
    write_video(wide, path, 5.0)
    turn(path)
    seen = observe(path, CONFIG)
    assert (seen.width, seen.height) == (SIDE, SIDE + 48)
    assert len(seen) == 6


def test_a_covered_mouth_is_told_and_costs_quality(models: None, filmed: Filmed, tmp_path: Path) -> None:
    needs(BISENET_MODEL)
    images = [image.copy() for image in filmed.truth.images]
    for index in (1, 4):
        points = filmed.truth.landmarks[index] * SIDE
        jaw = points[[234, 93, 132, 58, 172, 136, 150, 152, 379, 365, 397, 288, 361, 323, 454, 6]]
        cv2.fillPoly(images[index], [jaw.astype(np.int32)], (110, 160, 200), cv2.LINE_AA)
    seen = seen_in(images, tmp_path / "mask.mp4", replace(CONFIG, parser="bisenet"))
    assert len(seen) == 6, "kept: its landmarks are a face's"
    assert seen.covered == 2
    assert seen.quality[[1, 4]].max() < 0.3 * np.delete(seen.quality, [1, 4]).min()


def test_darkness_is_nobody(models: None, tmp_path: Path) -> None:
    with pytest.raises(PegasusError) as caught:
        seen_in([np.zeros((48, 64, 3), np.uint8)] * 6, tmp_path / "black.mp4")
    assert caught.value.reason is Reason.NO_FACE
    assert "6 no_face" in caught.value.message


def test_models_by_names_that_there_are_not_are_refused(models: None, filmed: Filmed) -> None:
    with pytest.raises(PegasusError) as caught:
        ObserveConfig(identity_frames=0)
    assert caught.value.reason is Reason.BAD_CONFIG
    for settings in ({"landmarks": "dlib68"}, {"parser": "unet"}, {"matte": "green"}, {"identity": "eye"}):
        with pytest.raises(PegasusError) as caught:
            observe(filmed.path, replace(CONFIG, **settings))
        assert caught.value.reason is Reason.BAD_CONFIG
