"""Avatars as data: binding, groups, motion codes, files."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load, save

from pegasus_ray.avatar.files.avatar import dump_avatar, load_avatar
from pegasus_ray.avatar.fit.motion_mask import motion_mask
from pegasus_ray.avatar.points.avatar import join
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.avatar.points.motion import MotionCode
from pegasus_ray.avatar.points.shading import even_light, harmonics, shade
from pegasus_ray.avatar.points.tensors import avatar_tensors
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute, Part
from tests.painted import painted_avatar, parameters


def test_points_on_the_surface_lie_where_the_rig_puts_them() -> None:
    rig, avatar = load_rig(), painted_avatar()
    anchors = avatar.anchors(rig)
    corners = rig.vertices(avatar.shape[None], torch.zeros(1, 52))[0][rig.faces[avatar.triangles]]
    expected = (corners * avatar.barycentric[..., None]).sum(1)
    torch.testing.assert_close(anchors.positions, expected, atol=1e-6, rtol=0)
    assert torch.allclose(anchors.skin_weights.sum(1), torch.ones(len(avatar)), atol=1e-4)


def test_an_avatar_split_and_joined_renders_the_same() -> None:
    rig, avatar, driving = load_rig(), painted_avatar(), parameters(2)
    left = avatar.anchors(rig).positions[:, 0] > 0
    whole = join(avatar.select(left), avatar.select(~left))
    assert len(whole.motions) == 2 and whole.groups.unique().tolist() == [0, 1]
    pictures = [
        render_points(a.canonical(a.anchors(rig)), rig, driving.drive(a), 48, per_pixel=24).image
        for a in (avatar, whole)
    ]
    torch.testing.assert_close(pictures[0], pictures[1], atol=2e-3, rtol=0)


def test_motion_code_is_zero_at_the_mean_and_bounded() -> None:
    driving = parameters(30)
    code = MotionCode.of(driving.expression, driving.head, driving.torso, 6)
    mean = [values.mean(0, keepdim=True) for values in (driving.expression, driving.head, driving.torso)]
    middle = code.encode(*mean)
    torch.testing.assert_close(middle, torch.zeros(1, 6), atol=1e-4, rtol=0)
    assert code.encode(100 * driving.expression, driving.head, driving.torso).abs().max() <= 2.5


def test_motion_code_of_fewer_frames_than_components_is_finite() -> None:
    driving = parameters(2)
    code = MotionCode.of(driving.expression, driving.head, driving.torso, 6)
    assert torch.isfinite(code.encode(driving.expression, driving.head, driving.torso)).all()


def test_even_light_leaves_albedo_alone() -> None:
    normals = torch.nn.functional.normalize(torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    torch.testing.assert_close(shade(normals, even_light()), torch.ones(2, 50, 3))
    assert harmonics(normals).shape == (2, 50, 9)


def test_an_avatar_survives_its_files() -> None:
    avatar = painted_avatar()
    loaded, config = load_avatar(dump_avatar(avatar, (Attribute.HAIR,)))
    assert config.attributes == (Attribute.HAIR,) and config.points == len(avatar)
    for name, value in avatar_tensors(avatar).items():
        assert torch.equal(avatar_tensors(loaded)[name], value), name


@pytest.mark.parametrize("spoil", ["missing", "unknown", "nan", "dtype", "shape", "triangle", "group"])
def test_a_spoilt_avatar_is_refused_by_name(spoil: str) -> None:
    files = dump_avatar(painted_avatar())
    tensors = load(files["avatar.safetensors"])
    changes = {
        "missing": ("albedo", None),
        "unknown": ("extra", torch.zeros(1)),
        "nan": ("offsets", torch.full_like(tensors["offsets"], float("nan"))),
        "dtype": ("albedo", tensors["albedo"].half()),
        "shape": ("albedo", tensors["albedo"][:-1].clone()),
        "triangle": ("triangles", tensors["triangles"] - 10**6),
        "group": ("groups", tensors["groups"] + 1),
    }
    name, value = changes[spoil]
    del_or_set = {k: v for k, v in tensors.items() if k != name} | ({} if value is None else {name: value})
    with pytest.raises(PegasusError) as caught:
        load_avatar(files | {"avatar.safetensors": save(del_or_set)}, name="somebody")
    assert caught.value.reason is Reason.BAD_REFERENCE and name in caught.value.message


@pytest.mark.parametrize("change", [{"points": 10**9}, {"command": "x"}, {"kind": "other"}])
def test_a_config_outside_the_schema_is_refused(change: dict[str, object]) -> None:
    files = dump_avatar(painted_avatar())
    config = json.loads(files["config.json"]) | change
    with pytest.raises(PegasusError) as caught:
        load_avatar(files | {"config.json": json.dumps(config).encode()})
    assert caught.value.reason is Reason.BAD_REFERENCE


def test_bytes_that_are_no_safetensors_are_refused() -> None:
    with pytest.raises(PegasusError):
        load_avatar(dump_avatar(painted_avatar()) | {"avatar.safetensors": b"\x80\x04pickle"})


def test_no_component_of_a_motion_code_mixes_expressions_with_the_pose() -> None:
    driving = parameters(30)
    code = MotionCode.of(driving.expression, driving.head, driving.torso, 6)
    assert code.of_pose.tolist() == [False] * 3 + [True] * 3
    still = [torch.zeros_like(values) for values in (driving.head, driving.torso)]
    neutral = torch.zeros_like(driving.expression)
    spoken = code.encode(driving.expression, *still) - code.encode(neutral, *still)
    turned = code.encode(neutral, driving.head, driving.torso) - code.encode(neutral, *still)
    assert float(spoken[:, 3:].abs().max()) == 0 < float(spoken[:, :3].abs().max())
    assert float(turned[:, :3].abs().max()) == 0 < float(turned[:, 3:].abs().max())


def test_faces_follow_expressions_cloth_the_pose_and_the_scalp_neither() -> None:
    rig, avatar = load_rig(), painted_avatar()
    anchors = avatar.anchors(rig)
    free = motion_mask(avatar, anchors, rig) > 0
    of_pose = avatar.motions[0].of_pose
    place = anchors.positions
    scalp = place[:, 1] > 0.08
    shoulder = place[:, 1] < -0.2
    assert scalp.any() and shoulder.any()
    mouth = avatar.part_logits.argmax(-1) == Part.MOUTH
    assert free[~of_pose][:, mouth].float().mean() > 0.8 and not free[of_pose][:, mouth].any()
    assert free[of_pose][:, shoulder].all()
    assert not free[:, scalp].any()
