"""Where person and background differ in colour, the edge is the picture's and not the net's, and carries no background."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pegasus_ray.perception.nets.matte import Plate, matte_model_of, refine, rough_matte
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.schemas.errors import PegasusError, Reason

SIDE = 160
PERSON = np.array([150, 60, 40], np.float32)


def scene(shift: float, wall: Floats) -> tuple[Bytes, Floats]:
    """A disc in front of a wall, and its exact coverage."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    cover = np.clip(40 - np.hypot(x - SIDE / 2 - shift, y - SIDE / 2) + 0.5, 0, 1).astype(np.float32)
    image = PERSON * cover[..., None] + wall * (1 - cover[..., None])
    return np.round(image).astype(np.uint8), cover


class Blunt:
    """A net that is two pixels too wide and blurred."""

    def __init__(self) -> None:
        self.truth: Floats = np.zeros((SIDE, SIDE), np.float32)

    def __call__(self, rgb: Bytes) -> Floats:
        wide = cv2.dilate(self.truth, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5)))
        return np.asarray(cv2.GaussianBlur(wide, (0, 0), 2.0))


def walls() -> list[Floats]:
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    still = np.stack([60 + 40 * x, 120 + 50 * y, 170 + 40 * np.sin(9 * x)], -1)
    return [still] * 6


def changing() -> list[Floats]:
    return [np.full((SIDE, SIDE, 3), (60 + 20 * k, 140, 220 - 15 * k), np.float32) for k in range(6)]


@pytest.mark.parametrize("make", [walls, changing])
def test_the_edge_is_the_pictures(make) -> None:
    net = Blunt()
    frames, truths, rough = [], [], []
    for wall, shift in zip(make(), np.linspace(-9, 9, 6), strict=True):
        image, net.truth = scene(float(shift), wall)
        frames.append(image)
        truths.append(net.truth)
        rough.append(rough_matte(image, net))
    plate = Plate.of(frames, rough)
    for image, truth, opacity in zip(frames, truths, rough, strict=True):
        matte, clean = refine(image, opacity, plate)
        before = np.abs(opacity / 255 - truth).sum() / (2 * np.pi * 40)
        after = np.abs(matte / 255 - truth).sum() / (2 * np.pi * 40)  # pixels of error along the edge
        assert before > 0.8
        assert after < 0.35
        soft = (matte > 20) & (matte < 255)
        spill = np.abs(image[soft].astype(np.float32) - PERSON).mean()
        assert np.abs(clean[soft].astype(np.float32) - PERSON).mean() < 0.25 * spill
        untouched = matte == 0
        assert (clean[untouched] == image[untouched]).all()


def test_islands_are_left_out() -> None:
    net = Blunt()
    image, net.truth = scene(0.0, walls()[0])
    net.truth[:12, :12] = 1.0
    assert rough_matte(image, net)[:20, :20].max() == 0


def test_a_still_wall_is_trusted_and_a_changing_one_is_not() -> None:
    for make, low, high in ((walls, 0.9, 1.0), (changing, 0.0, 0.1)):
        frames = [scene(0.0, wall) for wall in make()]
        plate = Plate.of([f for f, _ in frames], [np.round(255 * a).astype(np.uint8) for _, a in frames])
        assert low <= plate.trust[:20].mean() <= high
        assert plate.trust[SIDE // 2, SIDE // 2] == 0, "never seen behind the person"


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        matte_model_of("magic")
    assert caught.value.reason is Reason.BAD_CONFIG
