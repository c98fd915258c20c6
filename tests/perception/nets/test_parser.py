"""Part maps agree with the matte, know left from right, and without any net still put each part where the face has it."""

from __future__ import annotations

import numpy as np
import pytest

from pegasus_ray.perception.nets import face_regions as regions
from pegasus_ray.perception.nets import mesh_topology as mesh
from pegasus_ray.perception.nets.label_map import fill_matte, name_sides, resize_labels
from pegasus_ray.perception.nets.landmark_parser import LandmarkParser
from pegasus_ray.perception.nets.parser import parser_of
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Label
from tests.perception.faces import landmarks, portrait

SIZE = 192


@pytest.fixture(scope="module")
def parsed() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    image, matte, points = portrait(SIZE)
    return image, matte, points, LandmarkParser()(image, points, matte)


def at(labels: np.ndarray, points: np.ndarray, x: float, y: float) -> Label:
    """The label at a place of the face: across in widths, along in heights from its middle."""
    frame = regions.face_placement(points)
    return Label(int(labels[int(frame.y + y * frame.height), int(frame.x + x * frame.width)]))


def test_parts_agree_with_the_matte(parsed) -> None:
    _, matte, _, labels = parsed
    assert ((labels == Label.BACKGROUND) == (matte <= 127)).all()


def test_each_part_is_in_its_place(parsed) -> None:
    _, _, points, labels = parsed
    assert at(labels, points, 0.0, 0.06) is Label.NOSE
    assert at(labels, points, 0.0, 0.27) is Label.MOUTH
    assert at(labels, points, 0.0, 0.22) is Label.LIP_UPPER
    assert at(labels, points, 0.0, 0.315) is Label.LIP_LOWER
    assert at(labels, points, -0.22, -0.1) is Label.EYE_LEFT
    assert at(labels, points, 0.22, -0.1) is Label.EYE_RIGHT
    assert at(labels, points, -0.22, -0.19) is Label.BROW_LEFT
    assert at(labels, points, 0.22, -0.19) is Label.BROW_RIGHT
    assert at(labels, points, 0.3, 0.15) is Label.SKIN
    assert at(labels, points, 0.0, -0.35) is Label.SKIN
    assert at(labels, points, 0.0, -0.66) is Label.HAIR
    assert at(labels, points, 0.0, 0.65) is Label.NECK
    assert at(labels, points, 0.6, 1.0) is Label.CLOTH


def test_hair_and_skin_cover_what_was_drawn(parsed) -> None:
    image, _, points, labels = parsed
    drawn = (image == (60, 40, 30)).all(-1)
    found = labels == Label.HAIR
    assert (drawn & found).sum() / (drawn | found).sum() > 0.75
    oval = regions.polygon(points, mesh.FACE_OVAL, SIZE)
    assert (labels[oval] == Label.HAIR).mean() < 0.02


def test_left_is_the_pictures_left_also_on_a_turned_head() -> None:
    points = landmarks(SIZE)
    turn = np.deg2rad(35)
    turned = (points - SIZE / 2) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + SIZE / 2
    labels = np.zeros((SIZE, SIZE), np.uint8)
    left, right = (
        regions.polygon(turned.astype(np.float32), indices, SIZE) for indices in (mesh.EYE_LEFT, mesh.EYE_RIGHT)
    )
    labels[left], labels[right] = Label.EYE_RIGHT, Label.EYE_LEFT  # the wrong way round
    named = name_sides(labels, turned.astype(np.float32))
    assert (named[left] == Label.EYE_LEFT).all()
    assert (named[right] == Label.EYE_RIGHT).all()


def test_closed_and_open_eyes_are_told_apart() -> None:
    points = landmarks(SIZE)
    assert regions.openness(points, mesh.EYE_LEFT) > 0.2
    lids = points[list(mesh.EYE_LEFT)]
    points[list(mesh.EYE_LEFT), 1] = lids[:, 1].mean() + 0.1 * (lids[:, 1] - lids[:, 1].mean())
    assert regions.openness(points, mesh.EYE_LEFT) < 0.12


def test_filling_takes_the_nearest_label_and_nothing_outside() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[:, 0], labels[:, 7] = Label.HAIR, Label.CLOTH
    matte = np.full((8, 8), 255, np.uint8)
    matte[0] = 0
    filled = fill_matte(labels, matte)
    assert (filled[0] == Label.BACKGROUND).all()
    assert (filled[1:, :3] == Label.HAIR).all()
    assert (filled[1:, 5:] == Label.CLOTH).all()
    assert (fill_matte(np.zeros_like(labels), matte)[1:] == Label.SKIN).all()


@pytest.mark.parametrize("size", [40, 97, 300])
def test_resizing_keeps_each_labels_share_of_the_picture(parsed, size: int) -> None:
    labels = parsed[3]
    resized = resize_labels(labels, size)
    assert resized.shape == (size, size)
    assert set(np.unique(resized)) <= set(np.unique(labels))
    for label in (Label.BACKGROUND, Label.SKIN, Label.HAIR, Label.CLOTH):
        assert abs((labels == label).mean() - (resized == label).mean()) < 0.012


def test_an_unknown_parser_is_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        parser_of("unet")
    assert caught.value.reason is Reason.BAD_CONFIG


def test_without_any_file_auto_is_landmarks(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path))
    monkeypatch.delenv("PEGASUS_ASSET_MIRROR", raising=False)
    assert isinstance(parser_of("auto"), LandmarkParser)
    with pytest.raises(PegasusError) as caught:
        parser_of("bisenet")
    assert caught.value.reason is Reason.ASSET_MISSING


def test_hair_is_followed_by_its_colour_but_not_across_a_gap() -> None:
    rgb = np.full((64, 64, 3), (220, 180, 160), np.uint8)  # skin
    rgb[:20], rgb[20:50, :8], rgb[55:, 40:] = (90, 60, 30), (92, 62, 33), (90, 60, 30)
    crown, face = np.zeros((2, 64, 64), bool)
    crown[:10], face[25:50, 20:50] = True, True
    found = regions.grow_by_colour(rgb, crown, face, ~face)
    assert found[15, 30] and found[40, 3] and not found[60, 50] and not found[30, 55]
