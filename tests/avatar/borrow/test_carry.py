"""Parts on another head: hair goes along as a whole, and lies on cloth."""

from __future__ import annotations

from dataclasses import replace

import torch

from pegasus_ray.avatar.borrow.carry import HEIGHT_METRES, carry_part, lift_off_cloth
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Part
from tests.painted import painted_avatar


def _other_shape(scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(len(load_rig().shape_names), generator=torch.Generator().manual_seed(3))


def test_carried_hair_moves_more_evenly_than_its_triangles_do() -> None:
    rig, avatar, shape = load_rig(), painted_avatar(1), _other_shape(0.5)
    hair = avatar.parts == Part.HAIR
    before = avatar.places(rig)
    moved = carry_part(avatar, Part.HAIR, rig, shape)
    smooth = (moved.places(rig, shape) - before)[hair]
    bound = (avatar.places(rig, shape) - before)[hair]
    near = torch.cdist(before[hair], before[hair]).topk(6, largest=False).indices

    def roughness(change: torch.Tensor) -> float:
        return float((change[near] - change[:, None]).norm(dim=-1).mean())

    assert roughness(smooth) < 0.6 * roughness(bound)
    torch.testing.assert_close(smooth.mean(0), bound.mean(0), atol=0.002, rtol=0)
    assert torch.equal(moved.offsets[~hair], avatar.offsets[~hair])


def test_on_its_own_shape_nothing_is_carried_anywhere() -> None:
    rig, avatar = load_rig(), painted_avatar(1)
    torch.testing.assert_close(
        carry_part(avatar, Part.HAIR, rig, avatar.shape).offsets, avatar.offsets, atol=1e-6, rtol=0
    )


def test_hair_inside_of_cloth_is_laid_on_it_and_other_hair_is_not_moved() -> None:
    rig, wearer = load_rig(), painted_avatar()
    torso = (rig.parts[wearer.triangles] == Part.CLOTH).nonzero()[:, 0]
    logits = wearer.part_logits.clone()
    logits[torso] = 4.0 * torch.nn.functional.one_hot(torch.tensor(int(Part.CLOTH)), len(Part)).float()
    dressed = replace(wearer, part_logits=logits)
    chosen = torso[::10]
    normals = wearer.select(chosen).anchors(rig).normals
    inside, above = (
        replace(wearer.select(chosen), offsets=wearer.offsets[chosen] + depth * normals) for depth in (-0.01, 0.03)
    )
    out = lift_off_cloth(inside, dressed, rig)
    height = ((out.places(rig) - wearer.select(chosen).places(rig)) * normals).sum(1)
    assert abs(float(height.median()) - HEIGHT_METRES) < 0.003
    moved = (lift_off_cloth(above, dressed, rig).offsets - above.offsets).norm(dim=1)
    assert float((moved < 1e-6).float().mean()) > 0.98  # in the armpits another side of the torso is near
