"""One square for the whole clip: it holds the head wherever it goes, stays in the picture if it can, and keeps places."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pegasus_ray.perception.footage.crop import Crop, choose_crop, resize, resize_matted
from pegasus_ray.perception.nets.square import Square


def boxes(*places: tuple[float, float, float]) -> np.ndarray:
    """Face boxes from (middle x, middle y, side)."""
    return np.array([[[x - s / 2, y - s / 2], [x + s / 2, y + s / 2]] for x, y, s in places], np.float32)


@given(
    width=st.integers(200, 2000),
    height=st.integers(200, 2000),
    x=st.floats(0.2, 0.8),
    y=st.floats(0.2, 0.8),
    face=st.floats(0.1, 0.9),
)
@settings(max_examples=100, deadline=None)
def test_crop_holds_the_face_and_stays_inside_where_it_fits(
    width: int, height: int, x: float, y: float, face: float
) -> None:
    side = face * min(width, height)
    crop = choose_crop(boxes((x * width, y * height, side)), width, height)
    inside_x = min(max(x * width, side / 2), width - side / 2)
    inside_y = min(max(y * height, side / 2), height - side / 2)
    assert crop.x - 1 <= inside_x - side / 2
    assert inside_x + side / 2 <= crop.x + crop.side + 1
    assert crop.y - 1 <= inside_y - side / 2
    assert inside_y + side / 2 <= crop.y + crop.side + 1
    assert crop.side >= 1.69 * side
    if crop.side <= min(width, height):
        assert 0 <= crop.x <= width - crop.side
        assert 0 <= crop.y <= height - crop.side


def test_a_head_that_moves_stays_in_the_square() -> None:
    places = boxes(*[(400 + 10 * step, 300, 120) for step in range(20)])
    crop = choose_crop(places, 1280, 720)
    assert crop.x < 400 - 60
    assert crop.x + crop.side > 590 + 60
    still = choose_crop(places[:1], 1280, 720)
    assert 2.2 * 120 < still.side < 2.45 * 120 < crop.side


def test_one_stray_detection_does_not_widen_the_square() -> None:
    still = [(640.0, 360.0, 150.0)] * 99
    assert choose_crop(boxes(*still, (60.0, 60.0, 150.0)), 1280, 720) == choose_crop(boxes(*still), 1280, 720)


def test_beyond_the_picture_the_border_repeats() -> None:
    image = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    taken = Crop(x=-2, y=3, side=6).take(image)
    assert taken.shape == (6, 6, 3)
    assert (taken[0, 2:] == image[3, :4]).all()
    assert (taken[:, 0] == taken[:, 2]).all()
    assert (taken[3:] == taken[2]).all()


def test_points_and_pixels_agree() -> None:
    """A bright pixel is found at the fraction that its centre maps to."""
    image = np.zeros((90, 120, 1), np.uint8).repeat(3, 2)
    image[37, 71] = 255
    crop = Crop(x=50, y=10, side=60)
    (point,) = crop.fractions(np.array([[71.5, 37.5]], np.float32))
    for size in (60, 30, 120):
        small = resize(crop.take(image), size).astype(np.float64)[..., 0]
        y, x = np.mgrid[0:size, 0:size] + 0.5
        centre = np.array([(small * x).sum(), (small * y).sum()]) / small.sum() / size
        assert np.abs(centre - point).max() < 0.3 / size


def test_a_turned_square_draws_and_finds_points_alike() -> None:
    y, x = np.mgrid[0:200, 0:200] + 0.5
    spot = np.exp(-((x - 120) ** 2 + (y - 85) ** 2) / 18) * 250
    image = spot.astype(np.uint8)[..., None].repeat(3, 2)
    for side in (100.0, 170.0, 400.0):
        square = Square(x=110, y=95, side=side, angle=0.4)
        drawn = square.sample(image, 64)[..., 0].astype(np.float64)
        v, u = np.mgrid[0:64, 0:64] + 0.5
        centre = np.array([[(drawn * u).sum(), (drawn * v).sum()]]) / drawn.sum()
        assert np.abs(square.to_picture(centre.astype(np.float32), 64) - (120, 85)).max() < 0.15 * side / 64


def test_a_smaller_picture_over_white_is_the_finer_one_made_smaller() -> None:
    rng = np.random.default_rng(1)
    image = rng.integers(0, 255, (96, 96, 3)).astype(np.uint8)
    matte = np.zeros((96, 96), np.uint8)
    matte[20:70, 30:80] = 255
    matte[20:70, 25:30] = 90
    for size in (32, 41):
        small, opacity = resize_matted(image, matte, size)
        over = small * (opacity[..., None] / 255) + 255 - opacity[..., None].astype(float)
        finer = image * (matte[..., None] / 255) + 255 - matte[..., None].astype(float)
        assert np.abs(over - resize(np.round(finer).astype(np.uint8), size)).max() < 2.5
        assert (small[opacity == 0] == resize(image, size)[opacity == 0]).all()
