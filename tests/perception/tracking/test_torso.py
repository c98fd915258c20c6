"""Invariants of the torso's motion: that of the clothes is found; a torso that is not seen follows the head smoothly."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pegasus_ray.library.performance import Floats
from pegasus_ray.library.track import Bytes
from pegasus_ray.perception.footage.segmented import SegmentedFrames
from pegasus_ray.perception.tracking.fit_rig import RigFit
from pegasus_ray.perception.tracking.torso import TorsoConfig, _median_picture, _Similarities, smooth, track_torso
from pegasus_ray.rig.model import Rig, rigid_transforms
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.parts import Label

FRAMES, SIZE, FOCAL = 12, 96, 2.0


@pytest.fixture(scope="module")
def rig() -> Rig:
    return load_open_rig()


def heads(frames: int = FRAMES) -> Floats:
    """A head that turns and nods in place, 0.6 m away."""
    phase = np.linspace(0, 3, frames)
    still = np.zeros(frames)
    columns = [0.1 * np.sin(2 * phase), 0.3 * np.sin(phase), still, still, still + 0.02, still + 0.6]
    return np.stack(columns, 1).astype(np.float32)


def cameras(frames: int = FRAMES) -> Floats:
    return np.tile(np.array([[FOCAL, 0.5, 0.45]], np.float32), (frames, 1))


def dressed(rolls: Floats, scales: Floats, shifts: Floats) -> tuple[Bytes, Bytes, Bytes]:
    """A patterned jersey under a grey disc that stays: images, mattes, parts. It moves about the picture's middle."""
    source = np.random.default_rng(0)
    cloth = cv2.GaussianBlur(source.uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32), (0, 0), 3)
    cloth = np.clip((cloth - 127) * 5 + 127, 0, 255)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    body = ((columns - SIZE / 2) / 34) ** 2 + ((rows - SIZE) / 34) ** 2 < 1
    disc = (columns - SIZE / 2) ** 2 + (rows - 0.4 * SIZE) ** 2 < 15**2
    images, mattes, parts = [], [], []
    for roll, scale, shift in zip(rolls, scales, shifts, strict=True):
        turn = scale * np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
        middle = np.full(2, SIZE / 2 - 0.5)
        matrix = np.column_stack([turn, middle - turn @ middle + shift * SIZE])
        moved = cv2.warpAffine(cloth, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
        seen = cv2.warpAffine(body.astype(np.uint8), matrix, (SIZE, SIZE)) > 0
        part = np.where(disc, Label.SKIN, np.where(seen, Label.CLOTH, Label.BACKGROUND))
        image = np.where(disc[..., None], 170, np.where(seen[..., None], moved, 40))
        images.append(image.astype(np.uint8))
        parts.append(part.astype(np.uint8))
        mattes.append(((disc | seen) * 255).astype(np.uint8))
    return np.stack(images), np.stack(mattes), np.stack(parts)


def followed(rig: Rig, images: Bytes, mattes: Bytes, parts: Bytes, gap: float = 1.0) -> Floats:
    count = len(images)
    times = (gap * np.arange(count)).astype(np.float32)
    fit = RigFit(
        shape=np.zeros(len(rig.shape_names), np.float32),
        expression=np.zeros((count, len(rig.expression_names)), np.float32),
        head=heads(count),
        camera=cameras(count),
        error=np.zeros(count, np.float32),
        left_out_error=np.zeros(0, np.float32),
    )
    return track_torso(rig, SegmentedFrames(images=images, mattes=mattes, parts=parts, times=times), fit)


def chest(rig: Rig, torso: Floats) -> Floats:
    """Where points of the chest at the neck's depth fall on the picture, (T, N, 2) sides."""
    neck = rig.joints(torch.zeros(1, len(rig.shape_names)))[0, rig.joint_names.index("neck")]
    offsets = torch.tensor([[0.0, 0.0], [0.06, 0.0], [0.0, -0.06], [-0.05, -0.04]])
    place = rigid_transforms(torch.from_numpy(torso[:1]))[0]
    flat = torch.linalg.solve(place[:, :3], torch.cat([offsets, torch.zeros(4, 1)], 1).T).T  # at one depth in frame 0
    moved = rigid_transforms(torch.from_numpy(torso))
    points = (moved[:, None, :, :3] @ (neck + flat)[..., None])[..., 0] + moved[:, None, :, 3]
    return (FOCAL * points[..., :2] / points[..., 2:] + torch.tensor([0.5, 0.45])).numpy()


def test_a_known_motion_of_the_clothes_is_found(rig: Rig) -> None:
    phase = np.linspace(0, 6, FRAMES)
    rolls, scales = 0.08 * np.sin(phase), 1 + 0.06 * np.sin(1.3 * phase)
    shifts = np.stack([0.04 * np.sin(0.7 * phase), 0.02 * np.cos(phase)], 1)
    torso = followed(rig, *dressed(rolls, scales, shifts))
    seen = chest(rig, torso) - 0.5
    turn = scales * np.exp(1j * rolls)
    on_chest = np.ascontiguousarray(seen).view(np.complex64 if seen.dtype == np.float32 else np.complex128)[..., 0]
    rest = (on_chest[:1] - (shifts[:1] @ [1, 1j])[:, None]) / turn[:1, None]
    expected = turn[:, None] * rest + (shifts @ [1, 1j])[:, None]
    assert np.abs(expected - expected[:1]).max() > 0.05, "the motion is large"
    assert np.abs(on_chest - expected).max() < 0.008
    depth = torso[:, 5] - torso[0, 5]
    assert np.corrcoef(depth, -scales)[0, 1] > 0.98


def test_still_clothes_make_a_still_torso_under_a_moving_head(rig: Rig) -> None:
    still = np.zeros(FRAMES)
    torso = followed(rig, *dressed(still, still + 1, np.zeros((FRAMES, 2))))
    assert np.abs(torso - torso[0]).max() < 0.004


def test_the_median_picture_is_the_reference_without_its_noise() -> None:
    source, size = np.random.default_rng(2), 48
    clean = cv2.GaussianBlur(source.normal(0, 400, (size, size, 4)).astype(np.float32), (0, 0), 4)
    shifts, turns = source.uniform(-2, 2, (FRAMES, 2)), np.exp(1j * source.uniform(-0.05, 0.05, FRAMES))
    pictures = []
    for shift, turn in zip(shifts, turns, strict=True):
        spin = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
        middle = np.full(2, (size - 1) / 2)
        matrix = np.column_stack([spin, middle - spin @ middle + shift])
        pictures.append(cv2.warpAffine(clean, matrix, (size, size)) + source.normal(0, 30, clean.shape))
    places = _Similarities(
        alpha=torch.from_numpy(turns), shift=torch.from_numpy(shifts @ [1, 1j]), error=torch.ones(FRAMES)
    )
    found = _median_picture(np.stack(pictures).astype(np.float32), places)
    inner = (slice(6, -6), slice(6, -6))
    assert np.abs(found - clean)[inner].mean() < 0.6 * 30 * np.sqrt(2 / np.pi), "of one frame's noise"


def test_a_frame_that_cannot_be_registered_takes_its_neighbours_place(rig: Rig) -> None:
    still = np.zeros(FRAMES)
    images, mattes, parts = dressed(still, still + 1, np.zeros((FRAMES, 2)))
    images[5] = np.random.default_rng(1).integers(0, 255, images[5].shape)
    mattes[5] = 255 * (np.arange(SIZE) % 2)
    torso = followed(rig, images, mattes, parts)
    assert np.abs(torso - torso[0]).max() < 0.004


def test_without_clothes_it_follows_a_share_of_the_head_and_stays_on_the_neck(rig: Rig) -> None:
    images, mattes, parts = dressed(np.zeros(FRAMES), np.ones(FRAMES), np.zeros((FRAMES, 2)))
    parts[parts == Label.CLOTH] = Label.NECK
    torso = followed(rig, images, mattes, parts, gap=10.0)
    np.testing.assert_allclose(torso[:, :3], 0.4 * heads()[:, :3], atol=1e-5)
    neck = rig.joints(torch.zeros(1, len(rig.shape_names)))[0, rig.joint_names.index("neck")]
    by_head, by_torso = (
        (rigid_transforms(torch.from_numpy(pose)) @ torch.cat([neck, torch.ones(1)])).numpy()
        for pose in (heads(), torso)
    )
    np.testing.assert_allclose(by_head, by_torso, atol=1e-5)


def test_smoothing_keeps_ramps_and_lone_frames_and_takes_noise_out() -> None:
    times = (np.arange(60) / 25).astype(np.float32)
    ramp = np.stack([3 * times, -times], 1).astype(np.float64)
    np.testing.assert_allclose(smooth(ramp, times, 0.08), ramp, atol=1e-6)
    noisy = ramp + np.random.default_rng(0).normal(0, 0.1, ramp.shape)
    assert np.abs(smooth(noisy, times, 0.08) - ramp)[5:-5].std() < 0.6 * np.abs(noisy - ramp)[5:-5].std()
    np.testing.assert_array_equal(smooth(noisy, times * 100, 0.08), noisy)


def test_a_bad_config_is_refused() -> None:
    with pytest.raises(PegasusError, match="size"):
        TorsoConfig(size=8)
