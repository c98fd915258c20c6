"""Invariants of the refinement: a face a little off its place comes back, and one that is not seen stays where it is."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from pegasus_ray.perception.footage.segmented import SegmentedFrames
from pegasus_ray.perception.nets.square import Bytes
from pegasus_ray.perception.tracking.config import FitRigConfig, PhotometricConfig
from pegasus_ray.perception.tracking.landmark_problem import LandmarkProblem, LandmarkSequence
from pegasus_ray.perception.tracking.photometric import PhotometricProblem
from pegasus_ray.perception.tracking.rig_state import State
from pegasus_ray.render.camera import Camera
from pegasus_ray.rig.model import Pose, Rig, bone_transforms, rodrigues, rotation_vectors, skin
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.parts import Label, Part

FRAMES, SIZE, FINER, FOCAL = 6, 128, 3, 2.0


@pytest.fixture(scope="module")
def rig() -> Rig:
    """One whose landmarks do not drift, as those that the tests project do not."""
    rig = load_open_rig()
    return replace(rig, landmarks=replace(rig.landmarks, drift=None))


@pytest.fixture(scope="module")
def truth(rig: Rig) -> State:
    phase = torch.linspace(0, 5, FRAMES)
    turns = torch.stack([0.1 * torch.sin(phase), 0.25 * torch.sin(1.4 * phase), 0.05 * torch.cos(phase)], 1)
    return State(
        rotation=rodrigues(turns),
        translation=torch.tensor([[0.0, 0.02, 0.6]]).repeat(FRAMES, 1),
        expression=torch.zeros(FRAMES, len(rig.expression_names)),
        shape=torch.zeros(len(rig.shape_names)),
        log_focal=float(np.log(FOCAL)),
    )


@pytest.fixture(scope="module")
def pictures(rig: Rig, truth: State) -> SegmentedFrames:
    """A head with a pattern on its skin, triangle by triangle, the far ones first."""
    source = np.random.default_rng(0)
    places = rig.template[rig.faces].mean(1).numpy()
    waves = source.normal(0, 160, (12, 3))
    shade = 128 + 30 * np.sin(places @ waves.T + source.uniform(0, 6, 12)).sum(1) / 2
    pose = Pose.still(torch.cat([rotation_vectors(truth.rotation), truth.translation], 1))
    transforms = bone_transforms(rig, pose, rig.joints(truth.shape[None]))
    points = skin(rig.template, rig.skin_weights, transforms)
    camera = Camera.of(torch.tensor([[FOCAL, 0.5, 0.5]]).repeat(FRAMES, 1))
    pixels, depth = camera.project(points, SIZE * FINER)
    images, mattes = [], []
    for frame in range(FRAMES):
        image = np.full((SIZE * FINER, SIZE * FINER), 20, np.uint8)
        matte = np.zeros_like(image)
        order = depth[frame][rig.faces].mean(1).argsort(descending=True)
        for face in order[rig.parts[order] != Part.CLOTH].tolist():
            corners = pixels[frame][rig.faces[face]].round().int().numpy()
            cv2.fillConvexPoly(image, corners, float(np.clip(shade[face], 0, 255)))
            cv2.fillConvexPoly(matte, corners, 255)
        images.append(cv2.resize(image, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
        mattes.append(cv2.resize(matte, (SIZE, SIZE), interpolation=cv2.INTER_AREA))
    grey, opacity = np.stack(images), np.stack(mattes)
    parts = np.where(opacity > 127, Label.SKIN, Label.BACKGROUND).astype(np.uint8)
    return segmented(np.repeat(grey[..., None], 3, -1), opacity, parts)


def segmented(images: Bytes, mattes: Bytes, parts: Bytes) -> SegmentedFrames:
    """Frames half a second apart."""
    return SegmentedFrames(
        images=images, mattes=mattes, parts=parts, times=0.5 * np.arange(len(images), dtype=np.float32)
    )


def problem(rig: Rig, truth: State) -> LandmarkProblem:
    """The true landmarks; the tests give the pictures so much weight that these hardly count."""
    vertices = rig.template[rig.faces[rig.landmarks.triangles]]
    places = (vertices * rig.landmarks.barycentric[..., None]).sum(1) * torch.tensor([1.0, -1.0, -1.0])
    points = places @ truth.rotation.mT + truth.translation[:, None]
    landmarks = FOCAL * points[..., :2] / points[..., 2:] + 0.5
    seen = LandmarkSequence(
        landmarks=landmarks,
        blendshapes=torch.zeros(FRAMES, 52),
        times=0.5 * torch.arange(FRAMES),
        centre=(0.5, 0.5),
        focal=FOCAL,
    )
    still = replace(rig, landmarks=replace(rig.landmarks, drift=None))
    return LandmarkProblem(still, seen, FitRigConfig(expression_prior=1e3))


def test_heads_off_their_place_come_back(rig: Rig, truth: State, pictures: SegmentedFrames) -> None:
    config = PhotometricConfig(rounds=8, weight=300.0, points=3000)
    refiner = PhotometricProblem(rig, problem(rig, truth), pictures, config)
    shaken = replace(
        truth,
        rotation=rodrigues(0.012 * torch.randn(FRAMES, 3, generator=torch.Generator().manual_seed(1))) @ truth.rotation,
    )

    def off(state: State) -> float:
        return float(rotation_vectors(state.rotation @ truth.rotation.mT).norm(dim=1).mean().rad2deg())

    refined = refiner.refine(shaken)
    assert off(shaken) > 0.8
    assert off(refined) < 0.5 * off(shaken)


def test_frames_that_agree_are_not_moved(rig: Rig, truth: State, pictures: SegmentedFrames) -> None:
    refiner = PhotometricProblem(rig, problem(rig, truth), pictures, PhotometricConfig(points=1500))
    refined = refiner.refine(truth)
    assert rotation_vectors(refined.rotation @ truth.rotation.mT).norm(dim=1).rad2deg().max() < 0.6
    assert refined.expression.abs().max() < 0.05


def test_an_unseen_face_is_left_to_the_landmarks(rig: Rig, truth: State, pictures: SegmentedFrames) -> None:
    hidden = replace(pictures, parts=np.full_like(pictures.parts, Label.HAIR))
    refiner = PhotometricProblem(rig, problem(rig, truth), hidden, PhotometricConfig(points=1500))
    refined = refiner.refine(truth)
    torch.testing.assert_close(refined.rotation, truth.rotation, atol=1e-4, rtol=0)


def test_large_frames_are_worked_on_small(rig: Rig, truth: State, pictures: SegmentedFrames) -> None:
    enlarged = (array[:2].repeat(3, 1).repeat(3, 2) for array in (pictures.images, pictures.mattes, pictures.parts))
    refiner = PhotometricProblem(rig, problem(rig, truth), segmented(*enlarged), PhotometricConfig(points=500))
    assert refiner.size == 256


def test_a_bad_config_is_refused() -> None:
    with pytest.raises(PegasusError, match="fine < coarse"):
        PhotometricConfig(fine=0.2)
