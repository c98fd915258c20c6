"""Fields over canonical space: their written-out derivatives are autograd's, and normals are those of the exact Jacobian."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pegasus_ray.avatar.fields.avatar import FieldAvatar, canonical_roots
from pegasus_ray.avatar.fields.canonical import CanonicalField, encode_places, pull_back_encoding, to_field_units
from pegasus_ray.avatar.fields.chunks import in_chunks
from pegasus_ray.avatar.fields.codes import BLOCKS, CodeBook
from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fields.deformer import Deformer
from pegasus_ray.avatar.fields.mlp import SOFTPLUS_BETA, _SoftplusWithSlope
from pegasus_ray.avatar.fields.normals import transform_normals
from pegasus_ray.avatar.fields.points import FieldPoints
from pegasus_ray.avatar.points.avatar import Anchors, Avatar
from pegasus_ray.avatar.points.canonical import Drive, render_points
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig, bone_transforms, skin_normals
from pegasus_ray.schemas.errors import PegasusError
from tests.painted import painted_avatar, parameters

SMALL = FieldConfig(
    code=4, field_width=24, field_depth=5, field_skip=2, frequencies=3, deformer_width=16, deformer_depth=3,
    shading_width=16, subject_stage=True,
)  # fmt: skip


def _seed(number: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def _double(values: Tensor) -> Tensor:
    return values.double() if values.is_floating_point() else values


def _disturb(module: torch.nn.Module, size: float) -> None:
    """Move every weight, so that nothing is zero by its start."""
    generator = _seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))


def _exact(config: FieldConfig, count: int = 12) -> tuple[FieldAvatar, Avatar, Rig, Anchors, Tensor, Drive]:
    """A field avatar in double precision, with disturbed weights, over a few points of a painted person."""
    rig, person = load_rig(), painted_avatar()
    chosen = person.select(torch.randperm(len(person), generator=_seed())[:count])
    avatar = FieldAvatar(rig, chosen, config, _seed(1)).double()
    _disturb(avatar, 0.05)
    drive = parameters(3).drive(chosen)
    for name in ("head", "torso", "jaw", "eyes"):
        turned = 0.3 * torch.randn(getattr(drive.pose, name).shape, generator=_seed(3))
        drive = replace(drive, pose=replace(drive.pose, **{name: getattr(drive.pose, name) + turned}))
    pose = replace(drive.pose, **{n: getattr(drive.pose, n).double() for n in ("head", "torso", "jaw", "eyes")})
    expression = torch.rand(drive.expression.shape, generator=_seed(4), dtype=torch.float64)
    drive = replace(drive, pose=pose, expression=expression, motion=drive.motion.double() + 0.5)
    anchors = chosen.anchors(rig)
    anchors = replace(anchors, **{n: _double(getattr(anchors, n)) for n in Anchors.__dataclass_fields__})
    roots = canonical_roots(rig, chosen.triangles, chosen.barycentric).double()
    names = ("offsets", "log_radii", "opacity_logits", "albedo", "part_logits", "position_basis", "colour_basis")
    return (
        avatar,
        chosen.with_tensors({name: getattr(chosen, name).double() for name in names}),
        rig,
        anchors,
        roots,
        drive,
    )


def test_a_code_names_its_block_and_only_chosen_blocks_differ() -> None:
    book = CodeBook({"hair": 3}, 4, _seed())
    own, other = book({}), book({"hair": 2})
    width = 4 + len(BLOCKS)
    assert own.shape == (book.width,) == (len(BLOCKS) * width,)
    changed = (own != other).view(len(BLOCKS), width).any(1)
    assert changed.tolist() == [name == "hair" for name in BLOCKS]
    assert torch.equal(own.view(len(BLOCKS), width)[:, 4:], torch.eye(len(BLOCKS)))
    assert book.choices["hair"] == 3 and book.choices["nose"] == 1


def test_the_encoding_is_pulled_back_as_autograd_does() -> None:
    places = torch.randn(7, 3, generator=_seed(), dtype=torch.float64, requires_grad=True)
    by_encoded = torch.randn(7, 3 + 6 * 4, generator=_seed(1), dtype=torch.float64)
    (expected,) = torch.autograd.grad((encode_places(places, 4) * by_encoded).sum(), places)
    torch.testing.assert_close(pull_back_encoding(places, by_encoded, 4), expected)


def test_the_field_s_gradient_and_its_own_gradients_are_autograd_s() -> None:
    config = FieldConfig(field_width=16, field_depth=4, field_skip=2, frequencies=3)
    field = CanonicalField(6, config, _seed()).double()
    _disturb(field, 0.05)
    code = torch.randn(6, generator=_seed(1), dtype=torch.float64)
    positions = 0.1 * torch.randn(9, 3, generator=_seed(2), dtype=torch.float64)

    def gradient_by_autograd() -> Tensor:
        places = positions.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(field(places, code).distance.sum(), places, create_graph=True)
        return slope / 4  # the gradient is by field units, four a metre

    written, expected = field(positions, code).gradient, gradient_by_autograd()
    torch.testing.assert_close(written, expected)
    weights = list(field.trunk.parameters())
    ours = torch.autograd.grad(written.square().sum(), weights, allow_unused=True)
    theirs = torch.autograd.grad(expected.square().sum(), weights, allow_unused=True)
    used = 0
    for one, other in zip(ours, theirs, strict=True):
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)
            used += float(one.abs().max()) > 0
    assert used > 6


def test_the_field_begins_as_a_distance_to_a_sphere() -> None:
    field = CanonicalField(6, FieldConfig(), _seed())
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=_seed(1)), dim=-1)
    with torch.no_grad():
        near, far = (field(r * directions / 4 + torch.tensor([0.0, 0.0, -0.09]), torch.zeros(6)) for r in (0.2, 1.2))
    assert float(near.distance.max()) < 0 < float(far.distance.min())
    outward = torch.nn.functional.cosine_similarity(far.gradient, directions)
    assert float(outward.mean()) > 0.9


def test_our_softplus_is_torch_s_where_it_is_steep_too() -> None:
    values = torch.tensor([-50.0, -1.0, -0.02, 0.0, 1e-3, 0.05, 1.0, 50.0], requires_grad=True)
    bent, slope = _SoftplusWithSlope.apply(values)  # type: ignore[no-untyped-call]
    expected = torch.nn.functional.softplus(values, beta=SOFTPLUS_BETA)
    torch.testing.assert_close(bent, expected, atol=2e-8, rtol=1e-6)
    (by_values,) = torch.autograd.grad(expected.sum(), values)
    torch.testing.assert_close(slope, by_values)


def test_a_point_is_moved_by_the_sum_of_its_bases() -> None:
    deformer = Deformer(6, signals=5, joints=3, width=12, depth=3).double()
    _disturb(deformer, 0.2)
    places = 0.1 * torch.randn(9, 3, generator=_seed(2), dtype=torch.float64)
    bases = deformer(places, torch.randn(6, generator=_seed(1), dtype=torch.float64), tangents=False).bases
    signals = torch.randn(4, 5, generator=_seed(3), dtype=torch.float64)
    torch.testing.assert_close(bases.displacement(signals), torch.einsum("bs,snc->bnc", signals, bases.subsample()))
    torch.testing.assert_close(bases.subsample(4), bases.subsample()[:, ::4])
    assert float(bases.displacement(signals).detach().abs().min()) > 0


def test_the_deformer_begins_as_nothing_and_its_tangents_are_autograd_s() -> None:
    deformer = Deformer(6, signals=5, joints=3, width=12, depth=3).double()
    code = torch.randn(6, generator=_seed(1), dtype=torch.float64)
    places = 0.1 * torch.randn(4, 3, generator=_seed(2), dtype=torch.float64)
    assert all(float(part.detach().abs().max()) == 0 for part in _parts(deformer, places, code))
    _disturb(deformer, 0.2)
    tangents = deformer(places, code).tangents
    assert tangents is not None
    bases = torch.einsum("dnh,sch->sncd", tangents.hidden, tangents.heads)
    ours = (tangents.to_subject, tangents.to_rig, bases, tangents.joint_logits)
    for index, written in enumerate(ours):
        whole = torch.autograd.functional.jacobian(lambda x, i=index: _parts(deformer, x, code)[i], places)
        own = torch.stack([whole.select(-2, n).select(-3, n) for n in range(4)], dim=-3)  # of a point by its own place
        torch.testing.assert_close(written, own)


def _parts(deformer: Deformer, places: Tensor, code: Tensor) -> tuple[Tensor, ...]:
    made = deformer(places, code, tangents=False)
    return made.to_subject, made.to_rig, made.bases.subsample(), made.joint_logits


@pytest.mark.parametrize("subject_stage", [False, True])
def test_normals_are_those_of_the_exact_jacobian(subject_stage: bool) -> None:
    """Paper Eq. 3 with ∂x_d/∂x_sc by autograd through the whole model, in double precision."""
    config = replace(SMALL, subject_stage=subject_stage)
    model, start, rig, anchors, roots, drive = _exact(config)
    rig = replace(rig, **{n: _double(getattr(rig, n)) for n in ("template", "pose_basis", "skin_weights")})

    def points_at(offsets: Tensor) -> FieldPoints:
        return model.canonical(start.with_tensors({"offsets": offsets}), roots, anchors)

    offsets = start.offsets
    made = points_at(offsets)
    _, normals = made.pose(rig, drive)
    posed = torch.autograd.functional.jacobian(lambda o: points_at(o).pose(rig, drive)[0], offsets)  # (B, N, 3, N, 3)
    subject = torch.autograd.functional.jacobian(
        lambda o: roots + o + model.deformer(roots + o, made.code).to_subject * float(subject_stage), offsets
    )
    count = len(offsets)
    by_generic = torch.stack([posed[:, n, :, n] for n in range(count)], 1)  # (B, N, 3, 3)
    generic = torch.stack([subject[n, :, n] for n in range(count)])
    jacobian = by_generic @ generic.inverse()
    expected = (jacobian.inverse().mT @ made.gradient[..., None])[..., 0]
    expected = torch.nn.functional.normalize(expected, dim=-1)
    torch.testing.assert_close(normals, expected, atol=1e-9, rtol=0)
    plain = skin_normals(
        torch.nn.functional.normalize(made.gradient, dim=-1), made.skin_weights, _bones(rig, drive, made)
    )
    assert float((plain - expected).detach().abs().max()) > 1e-3  # the fields' terms matter here


def _bones(rig: Rig, drive: Drive, points: FieldPoints) -> Tensor:
    return bone_transforms(rig, drive.pose, points.joints[None])


def test_folded_space_keeps_outside_outside() -> None:
    flipped = torch.diag(torch.tensor([1.0, 1.0, -1.0])).expand(1, 1, 3, 3)
    normal = torch.tensor([[0.0, 0.0, 1.0]])
    expected = flipped[0, 0].inverse().T @ normal[0]
    torch.testing.assert_close(transform_normals(normal, flipped)[0, 0], expected)


def test_chunks_change_nothing_but_memory() -> None:
    weight = torch.randn(3, 4, generator=_seed(), requires_grad=True)
    rows = torch.randn(10, 3, generator=_seed(1))

    def function(part: Tensor) -> tuple[Tensor, ...]:
        return torch.tanh(part @ weight), part.sum(1)

    whole, parts = in_chunks(function, rows, 100), in_chunks(function, rows, 4)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)
    slopes = [torch.autograd.grad(made[0].square().sum(), weight)[0] for made in (whole, parts)]
    torch.testing.assert_close(*slopes)


def test_a_new_field_avatar_moves_as_the_rig_does() -> None:
    rig, person = load_rig(), painted_avatar()
    anchors, roots = person.anchors(rig), canonical_roots(rig, person.triangles, person.barycentric)
    model = FieldAvatar(rig, person, SMALL, _seed())
    drive = parameters(2).drive(person)
    still = person.with_tensors({"position_basis": torch.zeros_like(person.position_basis)})
    with torch.no_grad():
        points = model.canonical(person, roots, anchors)
        ours, _ = points.pose(rig, drive)
        rigs, _ = still.canonical(anchors).pose(rig, drive)
        drawn = render_points(points, rig, drive, 32)
    torch.testing.assert_close(ours, rigs, atol=2e-3, rtol=0)  # each joint has a weight of 1e-4 everywhere
    assert float((to_field_units(roots + person.offsets).norm(dim=-1)).median()) < 2
    assert float(drawn.alpha.max()) > 0.9


@pytest.mark.parametrize("wrong", [{"field_width": 0}, {"grid_levels": -1}, {"grid_levels": 99}])
def test_sizes_that_cannot_be_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(PegasusError):
        FieldConfig(**wrong)
