"""An imported FLAME model equals the reference layer, is stored exactly, and gets the open rig's annotations."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, save_file
from torch import Tensor

from pegasus_ray.rig.annotate import annotate
from pegasus_ray.rig.flame import TURNED_BONES, FlameArrays, flame_rig
from pegasus_ray.rig.imported import imported_names, load_imported, rig_file, save_imported
from pegasus_ray.rig.load import load_rig, models_of_rig
from pegasus_ray.rig.model import (
    Pose,
    Rig,
    Tissue,
    bone_transforms,
    interpolate_on_surface,
    pose_features,
    rodrigues,
    rotation_vectors,
    skin,
)
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part
from tests.rig.flame_shaped import Array, head_model, random_model, write_pickle

FLIP = torch.tensor([1.0, -1.0, -1.0])


@pytest.fixture(scope="module")
def random_rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return flame_rig(
        FlameArrays.read(write_pickle(random_model(), tmp_path_factory.mktemp("flame") / "model.pkl")), "flame"
    )


@pytest.fixture(scope="module")
def head(rig: Rig, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    path = tmp_path_factory.mktemp("head") / "model.npz"
    np.savez(path, **head_model(rig))
    return annotate(flame_rig(FlameArrays.read(path), "flame"), rig)


def test_posed_vertices_equal_the_reference_layer(random_rig: Rig, tmp_path: Path) -> None:
    """smplx's loader unpickles its file, so it gets one that this test wrote."""
    smplx = pytest.importorskip("smplx")
    model = random_model()
    with (tmp_path / "FLAME_NEUTRAL.pkl").open("wb") as file:
        pickle.dump(model, file)
    with (tmp_path / "flame_static_embedding.pkl").open("wb") as file:
        pickle.dump({"lmk_face_idx": np.zeros(1, np.int64), "lmk_b_coords": np.ones((1, 3)) / 3}, file)
    layer = smplx.FLAME(str(tmp_path), num_betas=300, num_expression_coeffs=100, batch_size=2, dtype=torch.float64)
    source = torch.Generator().manual_seed(3)

    def draw(width: int, scale: float) -> Tensor:
        return scale * torch.randn(2, width, generator=source, dtype=torch.float64)

    betas, expression = draw(300, 1.0), draw(100, 1.0)
    root, neck, jaw, left, right = (draw(3, 0.5) for _ in range(5))
    with torch.no_grad():
        wanted = layer(
            betas=betas,
            expression=expression,
            global_orient=root,
            neck_pose=neck,
            jaw_pose=jaw,
            leye_pose=left,
            reye_pose=right,
            transl=torch.zeros(2, 3, dtype=torch.float64),
        ).vertices

    names = ("template", "shape_basis", "expression_basis", "pose_basis", "skin_weights", "joint_regressor")
    rig = replace(random_rig, **{name: getattr(random_rig, name).double() for name in names})
    moved = torch.from_numpy((model["J_regressor"] @ model["v_template"])[-2:].mean(0))  # where the origin went
    expressions = torch.cat([expression, torch.zeros(2, len(TURNED_BONES), dtype=torch.float64)], 1)
    joints = rig.joints(betas, expressions) + moved
    flip = FLIP.double()
    turns = [rodrigues(root), rodrigues(root) @ rodrigues(neck)]
    hinge = [joints[:, 0] - (turns[0] @ joints[:, 0, :, None])[..., 0]]
    hinge.append((turns[0] @ joints[:, 1, :, None])[..., 0] + hinge[0] - (turns[1] @ joints[:, 1, :, None])[..., 0])
    torso, head = (
        torch.cat(  # a joint's motion in rig space as a pose: the origin goes to turn · moved + hinge, in camera axes
            [rotation_vectors(flip[:, None] * turn * flip), (flip * ((turn @ moved) + shift))], 1
        )
        for turn, shift in zip(turns, hinge, strict=True)
    )
    pose = Pose(head=head, torso=torso, jaw=jaw, eyes=torch.cat([left, right], 1))
    rest = rig.vertices(betas, expressions, pose)
    found = skin(rest, rig.skin_weights, bone_transforms(rig, pose, rig.joints(betas, expressions))) * flip
    assert (found - wanted).abs().max() < 1e-5
    assert (rest - rig.vertices(betas, expressions)).abs().max() > 1e-3, "pose correctives had a say"


def test_gradients_with_pose_correctives_are_exact(random_rig: Rig) -> None:
    tiny = replace(
        random_rig,
        **{
            name: getattr(random_rig, name)[:: len(random_rig.template) // 6].double()
            for name in ("template", "skin_weights")
        },
        **{
            name: getattr(random_rig, name)[::step, :: len(random_rig.template) // 6].double()
            for name, step in (("shape_basis", 60), ("expression_basis", 20), ("pose_basis", 1))
        },
        joint_regressor=torch.softmax(random_rig.joint_regressor[:, :: len(random_rig.template) // 6].double(), 1),
    )
    source = torch.Generator().manual_seed(1)
    widths = (len(tiny.shape_basis), len(tiny.expression_basis), 6, 6, 3, 6)
    inputs = [0.5 * torch.randn(2, width, generator=source, dtype=torch.float64) for width in widths]

    def posed(*inputs: Tensor) -> Tensor:
        shape, expression, head, torso, jaw, eyes = inputs
        pose = Pose(head=head, torso=torso, jaw=jaw, eyes=eyes)
        return skin(
            tiny.vertices(shape, expression, pose),
            tiny.skin_weights,
            bone_transforms(tiny, pose, tiny.joints(shape, expression)),
        )

    assert torch.autograd.gradcheck(posed, [value.requires_grad_() for value in inputs], fast_mode=True)


def test_pose_features_are_zero_at_rest_and_absent_without_correctives(random_rig: Rig, rig: Rig) -> None:
    pose = Pose.still(torch.tensor([[0.3, -0.2, 0.1, 0.0, 0.0, 1.0]]))
    features = pose_features(random_rig, pose)
    assert features.shape == (1, 36) and features.abs().max() < 1e-6, "torso and head turn together"
    turned = replace(pose, torso=torch.zeros(1, 6), jaw=torch.tensor([[0.2, 0.0, 0.0]]))
    assert (pose_features(random_rig, turned).reshape(4, 9).abs().amax(1) > 0.05).tolist() == [True, True, False, False]
    assert pose_features(rig, turned).shape == (1, 0)
    shape, expression = torch.zeros(1, len(rig.shape_names)), torch.zeros(1, 52)
    assert torch.equal(rig.vertices(shape, expression, turned), rig.vertices(shape, expression))


def test_the_expression_of_a_turned_joint_at_1_equals_turning_the_joint(random_rig: Rig) -> None:
    shape, expression = torch.zeros(1, 300), torch.zeros(1, 100 + len(TURNED_BONES))
    still = torch.zeros(1, 6)
    pose = Pose(head=still, torso=still, jaw=torch.tensor([TURNED_BONES["jawOpen"][1]]), eyes=still)
    by_bone = skin(
        random_rig.vertices(shape, expression, pose),
        random_rig.skin_weights,
        bone_transforms(random_rig, pose, random_rig.joints(shape)),
    )
    expression[0, random_rig.expression_names.index("jawOpen")] = 1
    torch.testing.assert_close(random_rig.vertices(shape, expression) * FLIP, by_bone, atol=1e-6, rtol=0)


def test_numbered_axes_belong_to_no_attribute(head: Rig) -> None:
    target, source = torch.zeros(300), torch.ones(300)
    for attribute in Attribute:
        assert torch.equal(head.mix_shape(target, source, attribute), target), "β is the target's, as in the paper"
    assert not head.global_axes.any()
    low, high = head.expression_limits
    assert low[0] == -3 and high[0] == 3 and low[100] == 0 and high[100] == 1


def test_labels_landmarks_and_blendshapes_are_where_the_open_rig_has_them(head: Rig, rig: Rig) -> None:
    assert len(head.template) == 5023 and len(head.faces) == 9976
    assert head.joints(torch.zeros(1, 300))[0, -2:].mean(0).abs().max() < 1e-5
    middle = head.template[head.faces].mean(1)
    height = {part: float(middle[head.parts == part, 1].mean()) for part in Part if (head.parts == part).any()}
    order = [Part.EYEBROWS, Part.EYES, Part.NOSE, Part.MOUTH, Part.NECK]
    assert [height[part] for part in order] == sorted((height[part] for part in order), reverse=True)
    assert (head.tissue == Tissue.EYE).sum() > 200 and (head.tissue == Tissue.LIPS).sum() > 150
    at = interpolate_on_surface(head.template, head.faces, head.landmarks.triangles, head.landmarks.barycentric)
    assert (head.landmarks.weights > 0).sum() >= 200
    assert at[33, 0] < -0.03 < 0.03 < at[263, 0] and at[152, 1] < at[14, 1] <= at[13, 1] + 0.003 < at[1, 1]
    assert (head.tissue[head.landmarks.triangles[[468, 473]]] == Tissue.EYE).all()
    scores = torch.zeros(3, 52)
    for row, name in enumerate(("jawOpen", "mouthSmileLeft", "eyeBlinkLeft")):
        scores[row, rig.expression_names.index(name)] = 1
    found = head.expression_of(scores)
    assert found[0, head.expression_names.index("jawOpen")] > 0.4
    displaced = torch.einsum("te,evc->tvc", found, head.expression_basis)
    opened = interpolate_on_surface(displaced[0], head.faces, head.landmarks.triangles, head.landmarks.barycentric)
    assert (opened[14] - opened[13])[1] < -0.015, "the lower lip goes down"
    smiled = interpolate_on_surface(displaced[1], head.faces, head.landmarks.triangles, head.landmarks.barycentric)
    assert smiled[291, 1] > 0.003 > smiled[61, 1], "the left corner of the mouth goes up"
    torch.testing.assert_close(rig.expression_of(scores), scores)


def test_an_imported_rig_is_loaded_by_name_and_refused_when_damaged(
    head: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEGASUS_CACHE", str(tmp_path))
    path = save_imported(replace(head, name="mine"))
    assert [file.name for file in path.parent.iterdir()] == ["mine.safetensors"] and imported_names() == ["mine"]
    again = load_imported("mine")
    for name in ("template", "faces", "shape_basis", "expression_basis", "pose_basis", "parts", "from_blendshapes"):
        assert torch.equal(getattr(again, name), getattr(head, name)), name
    assert again.expression_names == head.expression_names and again.topology == head.topology
    open_rig, mine = dict(models_of_rig("open"))["rig open"], dict(models_of_rig("mine"))["rig mine"]
    assert len(open_rig) == len(mine) == 64 and open_rig != mine
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:-1] + bytes([whole[-1] ^ 1]), b"text", whole.replace(b"uvs", b"uvz", 1)):
        path.write_bytes(damaged)
        with pytest.raises(PegasusError, match="import it again") as caught:
            load_imported("mine")
        assert caught.value.reason is Reason.ASSET_CORRUPT
    path.write_bytes(whole)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load(whole)
    for name, change in {
        "uvs": torch.zeros(1, 3, 2),
        "template": torch.zeros(0, 3),
        "shape_basis": torch.zeros(2000, len(head.template), 3),
        "faces": head.faces.int(),
    }.items():
        save_file(tensors | {name: change}, path, metadata=header)
        with pytest.raises(PegasusError, match="import it again") as caught:
            load_imported("mine")
        assert caught.value.reason is Reason.ASSET_CORRUPT
    for name in ("none", "../none", "", "open "):
        with pytest.raises(PegasusError) as caught:
            load_rig(name)
        assert caught.value.reason is Reason.BAD_REFERENCE
    with pytest.raises(PegasusError, match="not 'open'"):
        rig_file("open")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shapedirs", np.zeros((5023, 3, 20))),
        ("f", np.full((9976, 3), 5023)),
        ("weights", np.zeros((5023, 5))),
        ("v_template", np.full((5023, 3), np.nan)),
        ("kintree_table", np.zeros((2, 5), np.int64)),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, name: str, value: Array) -> None:
    small = random_model() | {name: value}
    with pytest.raises(ValueError, match=name):
        FlameArrays._checked(small)
    np.savez(tmp_path / "bad.npz", v_template=np.array([None], dtype=object))
    with pytest.raises(PegasusError) as caught:
        FlameArrays.read(tmp_path / "bad.npz")
    assert caught.value.reason is Reason.CORRUPT
