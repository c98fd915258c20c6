"""A strip of shoulder that the net misses is added; a wall of the jumper's colour, and what stands apart, are not."""

from __future__ import annotations

import cv2
import numpy as np

from pegasus_ray.perception.footage.shoulders import with_shoulders
from pegasus_ray.perception.nets.square import Bytes

SIDE = 128
JUMPER, WALL, FACE = (90, 90, 100), (40, 90, 210), (220, 170, 150)


def scene(*, wall: tuple[int, int, int] = WALL, top: int = 100, stray: bool = False) -> tuple[Bytes, Bytes]:
    """A face over a jumper whose upper edge lies at row `top`, and the true matte."""
    image = np.full((SIDE, SIDE, 3), wall, np.uint8)
    matte = np.zeros((SIDE, SIDE), np.uint8)
    cv2.rectangle(image, (0, top), (SIDE, SIDE), JUMPER, -1)
    cv2.rectangle(matte, (0, top), (SIDE, SIDE), 255, -1)
    cv2.ellipse(image, (64, 60), (26, 45), 0, 0, 360, FACE, -1)
    cv2.ellipse(matte, (64, 60), (26, 45), 0, 0, 360, 255, -1)
    if stray:
        cv2.rectangle(image, (4, 4), (24, 24), JUMPER, -1)
    noise = np.random.default_rng(0).integers(-6, 7, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), matte


def clip(**last: object) -> tuple[list[Bytes], list[Bytes], Bytes]:
    """Six frames seen rightly and one whose shoulders are low and missed at the sides; and that one's true matte."""
    whole = [scene(wall=last.get("wall", WALL), top=90 + number) for number in range(6)]  # type: ignore[arg-type]
    image, truth = scene(top=116, **last)  # type: ignore[arg-type]
    rough = truth.copy()
    rough[112:, :34] = rough[112:, 94:] = 0
    return [frame for frame, _ in whole] + [image], [matte for _, matte in whole] + [rough], truth


def test_missed_shoulders_are_added() -> None:
    frames, rough, truth = clip()
    done = with_shoulders(frames, rough)
    assert all(np.array_equal(one, other) for one, other in zip(done[:-1], rough[:-1], strict=True))
    wrong = (done[-1] > 127) != (truth > 127)
    assert ((rough[-1] > 127) != (truth > 127)).sum() > 700 and wrong.sum() < 60


def test_colours_that_the_wall_has_too_decide_nothing() -> None:
    frames, rough, _ = clip(wall=JUMPER)
    assert all(np.array_equal(one, other) for one, other in zip(with_shoulders(frames, rough), rough, strict=True))


def test_what_does_not_leave_the_picture_below_stays_out() -> None:
    frames, rough, _ = clip(stray=True)
    assert not with_shoulders(frames, rough)[-1][:30, :30].any()
