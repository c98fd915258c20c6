"""The landmark embedding was measured on this mesh, and its landmarks lie where a face has them, symmetrically."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pegasus_ray.rig.embedding import load_embedding, save_embedding
from pegasus_ray.rig.model import LandmarkEmbedding, Rig, Tissue, interpolate_on_surface
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError, Reason

NOSE_TIP, UPPER_LIP, LOWER_LIP, CHIN = 1, 13, 14, 152
RIGHT_EYE, LEFT_EYE, RIGHT_MOUTH, LEFT_MOUTH = 33, 263, 61, 291
RIGHT_IRIS, LEFT_IRIS = 468, 473


def places(rig: Rig, expression: str = "", amount: float = 0.0) -> Tensor:
    vertices = rig.template
    if expression:
        vertices = vertices + amount * rig.expression_basis[rig.expression_names.index(expression)]
    return interpolate_on_surface(vertices, rig.faces, rig.landmarks.triangles, rig.landmarks.barycentric)


def test_most_landmarks_have_a_place(rig: Rig) -> None:
    assert (rig.landmarks.weights > 0).sum() >= 400
    torch.testing.assert_close(rig.landmarks.barycentric.sum(1), torch.ones(478))
    assert rig.landmarks.barycentric.min() >= 0
    assert (rig.landmarks.weights[[NOSE_TIP, UPPER_LIP, LOWER_LIP, RIGHT_EYE, LEFT_EYE, RIGHT_IRIS]] == 1).all()
    assert 0 < rig.landmarks.weights[CHIN] < 1, "the outline counts less"


def test_landmarks_lie_where_a_face_has_them(rig: Rig) -> None:
    at = places(rig)
    known = rig.landmarks.weights > 0
    assert at[NOSE_TIP, 2] > at[known, 2].max() - 0.004
    assert at[RIGHT_EYE, 0] < -0.035 < 0.035 < at[LEFT_EYE, 0]
    assert at[CHIN, 1] < at[LOWER_LIP, 1] <= at[UPPER_LIP, 1] + 0.002 < at[NOSE_TIP, 1]
    irises = rig.tissue[rig.landmarks.triangles[[RIGHT_IRIS, LEFT_IRIS]]]
    assert (irises == Tissue.EYE).all()
    assert (at[LEFT_IRIS] - rig.joints(torch.zeros(1, len(rig.shape_names)))[0, -2])[:2].norm() < 0.003


def test_both_sides_are_alike(rig: Rig) -> None:
    at = places(rig)
    for right, left in (
        (RIGHT_EYE, LEFT_EYE),
        (RIGHT_MOUTH, LEFT_MOUTH),
        (RIGHT_IRIS, LEFT_IRIS),
        (133, 362),
        (105, 334),
    ):
        assert (at[right] - at[left] * torch.tensor([-1.0, 1.0, 1.0])).norm() < 0.003


def test_lips_part_with_the_jaw_and_lids_meet_in_a_blink(rig: Rig) -> None:
    shut, wide = places(rig), places(rig, "jawOpen", 1.0)
    assert (wide[UPPER_LIP] - wide[LOWER_LIP]).norm() > (shut[UPPER_LIP] - shut[LOWER_LIP]).norm() + 0.02
    seeing, blinking = places(rig), places(rig, "eyeBlinkLeft", 1.0)
    assert (blinking[386] - blinking[374]).norm() < 0.4 * (seeing[386] - seeing[374]).norm()


def test_an_embedding_of_another_mesh_is_refused(rig: Rig, tmp_path: Path) -> None:
    path = tmp_path / "embedding.safetensors"
    other = replace(rig, faces=rig.faces.flip(0))
    save_embedding(rig.landmarks, other, path)
    with pytest.raises(PegasusError, match="measured on mesh") as caught:
        load_embedding(rig, path)
    assert caught.value.reason is Reason.ASSET_CORRUPT
    save_embedding(rig.landmarks, rig, path)
    bare = replace(rig, landmarks=LandmarkEmbedding.unknown())
    assert torch.equal(load_embedding(bare, path).landmarks.triangles, rig.landmarks.triangles)
    with pytest.raises(PegasusError, match="no landmark embedding"):
        load_embedding(rig, tmp_path / "none")


def test_the_rig_can_be_loaded_without_an_embedding(rig: Rig, tmp_path: Path) -> None:
    bare = load_open_rig(tmp_path / "rig.safetensors", measured=False)
    assert not bare.landmarks.weights.any()
