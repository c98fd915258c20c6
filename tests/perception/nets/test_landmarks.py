"""A face is found where it is and only where there is one; a face that is followed is the one that is detected."""

from __future__ import annotations

import numpy as np

from pegasus_ray.perception.nets.landmarks import ARKIT_NAMES, FaceMesh, square_around
from pegasus_ray.rig.open_rig import load_open_rig
from tests.perception.conftest import Filmed
from tests.perception.faces import landmarks


def test_scores_are_in_the_rigs_order_of_expressions() -> None:
    assert load_open_rig().expression_names == ARKIT_NAMES
    assert list(ARKIT_NAMES[:-1]) == sorted(ARKIT_NAMES[:-1])
    assert ARKIT_NAMES[-1] == "tongueOut"


def test_the_square_turns_and_moves_with_the_face() -> None:
    points = landmarks(200)
    upright = square_around(points)
    assert abs(upright.angle) < 1e-3
    turn = np.array([[np.cos(0.5), np.sin(0.5)], [-np.sin(0.5), np.cos(0.5)]], np.float32)
    turned = square_around(points @ turn + np.float32(30))
    assert np.isclose(turned.angle, 0.5, atol=1e-3)
    assert np.isclose(turned.side, upright.side, rtol=1e-3)
    assert np.allclose((turned.x - 30, turned.y - 30), np.array([upright.x, upright.y]) @ turn, atol=0.1)


def test_a_face_is_found_where_it_is(mesh: FaceMesh, filmed: Filmed) -> None:
    size = filmed.truth.size
    for image, truth in zip(filmed.truth.images, filmed.truth.landmarks, strict=True):
        face = mesh.detect(image)
        assert face is not None
        assert face.score > 0.9
        assert face.points.shape == (478, 2)
        assert face.blendshapes.shape == (52,)
        assert 0 <= face.blendshapes.min() <= face.blendshapes.max() <= 1
        eyes = np.hypot(*(truth[33] - truth[263])) * size
        assert np.hypot(*(face.points - truth * size).T).mean() < 0.12 * eyes


def test_a_tracked_face_is_the_detected_one(mesh: FaceMesh, filmed: Filmed) -> None:
    first, last = filmed.truth.images[0], filmed.truth.images[-1]
    start = mesh.detect(first)
    assert start is not None
    (tracked,), _ = mesh.detect_all(last, [start.points])
    detected = mesh.detect(last)
    assert tracked is not None
    assert detected is not None
    eyes = np.hypot(*(detected.points[33] - detected.points[263]))
    assert np.hypot(*(tracked.points - detected.points).T).mean() < 0.015 * eyes


def test_of_two_faces_the_larger_is_detected_and_the_one_before_is_followed(mesh: FaceMesh, filmed: Filmed) -> None:
    image = filmed.truth.images[0]
    side = filmed.truth.size
    both = np.full((side, 2 * side + 40, 3), 120, np.uint8)
    both[:, :side] = image
    small = image[::2, ::2]
    both[: small.shape[0], -small.shape[1] :] = small
    large = mesh.detect(both)
    assert large is not None
    assert large.points[:, 0].max() < side
    alone = mesh.detect(np.ascontiguousarray(both[:, side:]))
    assert alone is not None
    (followed,), others = mesh.detect_all(both, [alone.points + np.float32([side, 0])])
    assert followed is not None
    assert followed.points[:, 0].min() > side
    assert len(others) == 1
    assert others[0].points[:, 0].max() < side


def test_nobody_is_found_where_nobody_is(mesh: FaceMesh, filmed: Filmed) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (192, 256, 3)).astype(np.uint8)
    assert mesh.detect(noise) is None
    assert mesh.detect(np.zeros((48, 64, 3), np.uint8)) is None
    gone = mesh.detect(filmed.truth.images[0])
    assert gone is not None
    assert mesh.detect_all(noise, [gone.points]) == ([None], [])
