"""Regions of part maps: boxes around heads, intersection over union, and PSNR inside the frames that show a part."""

from __future__ import annotations

import numpy as np
import pytest

from pegasus_ray.evaluate.regions import head_box, iou, mean_psnr
from pegasus_ray.schemas.parts import Label


def test_a_head_s_box_is_all_but_neck_and_cloth() -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[2:6, 5:9], labels[6:9, 4:10] = Label.HAIR, Label.SKIN
    labels[9:16] = Label.CLOTH
    box = head_box(labels)
    assert box.sum() == 7 * 6 and box[2:9, 4:10].all()
    assert not head_box(np.zeros((16, 16), np.uint8)).any()


def test_intersection_over_union_is_a_share_of_both_together() -> None:
    half, quarter, nothing = np.zeros((4, 4), bool), np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    half[:2], quarter[:1] = True, True
    assert iou(half, half) == 1 and iou(half, quarter) == iou(quarter, half) == 0.5
    assert iou(half, ~half) == iou(nothing, nothing) == 0


def test_frames_that_do_not_show_the_part_do_not_count() -> None:
    white, grey = np.full((4, 4, 3), 255, np.uint8), np.full((4, 4, 3), 128, np.uint8)
    everywhere, nowhere = np.ones((4, 4), bool), np.zeros((4, 4), bool)
    alone = mean_psnr([grey], [white], [everywhere])
    assert (
        mean_psnr([grey, grey], [white, white], [everywhere, nowhere])
        == alone
        == pytest.approx(20 * np.log10(255 / 127))
    )
    assert np.isnan(mean_psnr([grey], [white], [nowhere]))
