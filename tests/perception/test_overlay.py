"""The overlay shows the rig where the person is: with the truth as the track, the fitted landmarks cover the seen ones."""

from __future__ import annotations

import numpy as np

from pegasus_ray.perception.footage.crop import resize
from pegasus_ray.perception.overlay import FITTED_COLOUR, LABEL_COLOURS, PART_OPACITY, draw_overlay
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Label
from tests.perception.conftest import Filmed


def red(picture: np.ndarray) -> np.ndarray:
    """Pixels in about the colour of the fitted landmarks."""
    return np.abs(picture.astype(int) - FITTED_COLOUR).max(-1) < 60


def test_fitted_landmarks_lie_on_the_face(filmed: Filmed) -> None:
    side = 256
    pictures = list(draw_overlay(filmed.truth, load_rig(filmed.truth.rig), side=side))
    assert len(pictures) == len(filmed.truth)
    for picture, truth, image in zip(pictures, filmed.truth.landmarks, filmed.truth.images, strict=True):
        assert picture.shape == (side, 3 * side, 3)
        rows, columns = np.nonzero(red(picture[:, :side]) & ~red(resize(image, side)))
        known = truth[load_rig().landmarks.weights.numpy() > 0] * side
        assert len(rows) > 100
        assert np.abs([columns.mean() - known[:, 0].mean(), rows.mean() - known[:, 1].mean()]).max() < 0.03 * side


def test_the_parts_are_tinted_and_every_label_has_a_colour(filmed: Filmed) -> None:
    assert set(LABEL_COLOURS) == set(Label)
    assert len(set(LABEL_COLOURS.values())) == len(Label)
    size = filmed.truth.size
    (picture, *_) = draw_overlay(filmed.truth, load_rig(filmed.truth.rig), side=size)
    nose = filmed.truth.parts[0] == Label.NOSE
    expected = PART_OPACITY * np.array(LABEL_COLOURS[Label.NOSE]) + (1 - PART_OPACITY) * filmed.truth.images[0][nose]
    assert np.abs(picture[:, 2 * size :][nose] - expected).max() <= 1
