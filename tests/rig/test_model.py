"""Shape, expression and pose move points as they should, with exact gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pegasus_ray.rig.model import (
    Pose,
    Rig,
    bone_transforms,
    interpolate_on_surface,
    rigid_transforms,
    rodrigues,
    rotation_vectors,
    skin,
    skin_normals,
)
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.parts import Attribute


def small(rig: Rig) -> Rig:
    """A few vertices and axes of the rig, in float64, for gradient checks."""
    double = {name: getattr(rig, name).double() for name in ("template", "shape_basis", "expression_basis")}
    double["skin_weights"], double["joint_regressor"] = rig.skin_weights.double(), rig.joint_regressor.double()
    return replace(
        rig,
        template=double["template"][::900],
        shape_basis=double["shape_basis"][::40, ::900],
        expression_basis=double["expression_basis"][::20, ::900],
        skin_weights=double["skin_weights"][::900],
        joint_regressor=torch.softmax(double["joint_regressor"][:, ::900], 1),
    )


def random_pose(count: int, dtype: torch.dtype, seed: int = 0) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [0.5 * torch.randn(count, width, generator=source, dtype=dtype) for width in (6, 6, 3, 6)]


def test_gradients_of_shape_expression_and_pose_are_exact(rig: Rig) -> None:
    tiny = small(rig)
    source = torch.Generator().manual_seed(1)
    shape = torch.randn(1, len(tiny.shape_basis), generator=source, dtype=torch.float64, requires_grad=True)
    expression = torch.rand(2, len(tiny.expression_basis), generator=source, dtype=torch.float64, requires_grad=True)
    parts = [value.requires_grad_() for value in random_pose(2, torch.float64)]

    def posed(*inputs: Tensor) -> Tensor:
        shape, expression, head, torso, jaw, eyes = inputs
        pose = Pose(head=head, torso=torso, jaw=jaw, eyes=eyes)
        return skin(
            tiny.vertices(shape, expression), tiny.skin_weights, bone_transforms(tiny, pose, tiny.joints(shape))
        )

    assert torch.autograd.gradcheck(posed, (shape, expression, *parts), fast_mode=True)


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e-4, 1e-3, 0.5, 3.0])
def test_rodrigues_is_a_rotation_with_exact_gradients_everywhere(scale: float) -> None:
    rotation = scale * torch.tensor([[0.6, -0.3, 0.74]], dtype=torch.float64)
    matrix = rodrigues(rotation)
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64)[None])
    torch.testing.assert_close(
        matrix, torch.linalg.matrix_exp(torch.linalg.cross(rotation, torch.eye(3).double()).mT)[None]
    )
    if scale in (0.0, 0.5, 3.0):
        assert torch.autograd.gradcheck(rodrigues, (rotation.requires_grad_(),))


def test_the_rest_pose_only_flips_and_moves(rig: Rig) -> None:
    head = torch.tensor([[0.0, 0.0, 0.0, 0.1, 0.2, 1.5]])
    shape = torch.zeros(1, len(rig.shape_names))
    points = skin(rig.template, rig.skin_weights, bone_transforms(rig, Pose.still(head), rig.joints(shape)))
    expected = rig.template * torch.tensor([1.0, -1.0, -1.0]) + torch.tensor([0.1, 0.2, 1.5])
    torch.testing.assert_close(points[0], expected, atol=1e-6, rtol=0)


def test_head_and_torso_move_their_own_points(rig: Rig) -> None:
    head, torso, _, _ = random_pose(1, torch.float32)
    pose = Pose.still(head, torso)
    points = skin(
        rig.template, rig.skin_weights, bone_transforms(rig, pose, rig.joints(torch.zeros(1, len(rig.shape_names))))
    )[0]
    for joint, transform in (("root", rigid_transforms(torso)[0]), ("head", rigid_transforms(head)[0])):
        own = rig.skin_weights[:, rig.joint_names.index(joint)] == 1
        assert own.sum() > 500
        expected = rig.template[own] @ transform[:, :3].T + transform[:, 3]
        torch.testing.assert_close(points[own], expected, atol=1e-5, rtol=0)


def test_jaw_and_eyes_turn_about_their_own_joints(rig: Rig) -> None:
    head = torch.zeros(1, 6)
    shape = torch.zeros(1, len(rig.shape_names))
    joints = rig.joints(shape)
    pose = Pose(head=head, torso=head, jaw=torch.full((1, 3), 0.3), eyes=torch.full((1, 6), -0.4))
    transforms = bone_transforms(rig, pose, rig.joints(shape))
    for name in ("jaw", "eye.L", "eye.R"):
        index = rig.joint_names.index(name)
        moved = transforms[0, index, :, :3] @ joints[0, index] + transforms[0, index, :, 3]
        torch.testing.assert_close(moved, joints[0, index] * torch.tensor([1.0, -1.0, -1.0]), atol=1e-6, rtol=0)
        assert not torch.allclose(transforms[0, index], transforms[0, rig.joint_names.index("head")])


def test_normals_turn_as_the_points_do(rig: Rig) -> None:
    head = random_pose(1, torch.float32)[0]
    transforms = bone_transforms(rig, Pose.still(head), rig.joints(torch.zeros(1, len(rig.shape_names))))
    start, tip = rig.template[::7], rig.template[::7] + torch.tensor([0.0, 0.6, 0.8])
    weights = rig.skin_weights[::7]
    turned = skin(tip, weights, transforms) - skin(start, weights, transforms)
    torch.testing.assert_close(skin_normals(tip - start, weights, transforms), turned, atol=1e-5, rtol=0)


def test_surface_interpolates_any_quantity(rig: Rig) -> None:
    triangles = torch.tensor([0, 5, 900])
    corner = torch.eye(3)
    torch.testing.assert_close(
        interpolate_on_surface(rig.template, rig.faces, triangles, corner), rig.template[rig.faces[triangles].diag()]
    )
    moving = rig.shape_basis.permute(1, 0, 2)
    assert interpolate_on_surface(moving, rig.faces, triangles, corner).shape == (3, len(rig.shape_names), 3)


def test_axes_partition_into_attributes_and_the_whole_head(rig: Rig) -> None:
    claims = torch.stack([rig.axes_of(attribute) for attribute in Attribute] + [rig.global_axes]).int().sum(0)
    assert claims.max() == 1, "no axis belongs to two"
    assert not rig.axes_of(Attribute.HAIR).any() and not rig.axes_of(Attribute.HAT).any()
    for attribute in (Attribute.EYES, Attribute.EYEBROWS, Attribute.NOSE, Attribute.MOUTH):
        named = {name for name, own in zip(rig.shape_names, rig.axes_of(attribute).tolist(), strict=True) if own}
        assert named and all(name.startswith(attribute.value) for name in named)
    unclaimed = {name.partition("/")[0] for name, n in zip(rig.shape_names, claims.tolist(), strict=True) if not n}
    assert unclaimed == {"ears", "cheek", "chin", "forehead"}


def test_a_mixed_shape_takes_the_attribute_from_the_source_and_nothing_else(rig: Rig) -> None:
    target, source = torch.zeros(len(rig.shape_names)), torch.ones(len(rig.shape_names))
    for attribute in Attribute:
        torch.testing.assert_close(rig.mix_shape(target, source, attribute), rig.axes_of(attribute).float())
    head_size = rig.shape_names.index("head/scale-horiz-incr")
    assert rig.mix_shape(target, source, Attribute.NOSE)[head_size] == 0


def test_a_joint_of_unknown_motion_is_refused(rig: Rig) -> None:
    odd = replace(rig, joint_names=("tail", *rig.joint_names[1:]))
    with pytest.raises(PegasusError, match="tail"):
        bone_transforms(odd, Pose.still(torch.zeros(1, 6)), odd.joints(torch.zeros(1, len(rig.shape_names))))


def test_rotation_vectors_undo_rodrigues() -> None:
    vectors = torch.tensor([[0.3, -0.2, 0.9], [0.0, 1.5, 0.1], [1e-3, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(rotation_vectors(rodrigues(vectors)), vectors, atol=1e-5, rtol=0)
