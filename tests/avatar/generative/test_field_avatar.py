"""A generative avatar of fields: codes reproduce sources, training resumes to the same bits, files of strangers are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save

from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.avatar.fields.avatar import tint
from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.files.fields import NETWORKS
from pegasus_ray.avatar.files.generative import dump_generative, load_generative
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates, Resolution
from pegasus_ray.avatar.fit.loop import FitContext
from pegasus_ray.avatar.fit.losses import rendered_normal_loss
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar, mix
from pegasus_ray.avatar.generative.clips import CodedClip
from pegasus_ray.avatar.generative.coded_parameters import GenerativeRates
from pegasus_ray.avatar.generative.field_avatar import FieldGenerative
from pegasus_ray.avatar.generative.field_fit import fit_field_generative
from pegasus_ray.avatar.generative.initialise import initialise_generative
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.personalize import own_clip
from tests.painted import painted_avatar, painted_track, parameters

HAIR, NOSE = Attribute.HAIR, Attribute.NOSE
POINTS = 2500
FIELDS = FieldConfig(
    code=4, field_width=24, field_depth=3, field_skip=2, deformer_width=16, deformer_depth=2, shading_width=16,
    subject_stage=True, own_looks=True,
)  # fmt: skip
CONFIG = FitConfig(
    stages=(Resolution(scale=0.5, steps=6), Resolution(scale=1.0, steps=12)),
    rates=LearningRates(networks=2e-3),
    fields=FIELDS,
    batch=2,
    settle_steps=60,
    checkpoint_every=4,
    refine_tracking=False,
)


def _start() -> GenerativeAvatar:
    anna, bert = painted_avatar(1, POINTS), painted_avatar(2, POINTS)
    lenders = {HAIR: [("anna", anna), ("bert", bert)], NOSE: [("anna", anna)]}
    return initialise_generative(painted_avatar(0, POINTS), lenders, load_rig(), code_size=FIELDS.code)


def _picture(avatar: Avatar) -> torch.Tensor:
    rig = load_rig()
    with torch.no_grad():
        drive = parameters(3).drive(avatar)
        return render_points(avatar.canonical(avatar.anchors(rig)), rig, drive, 64).image


@cache
def _clips() -> tuple[CodedClip, CodedClip]:
    """The target's own frames, and such with another's hair in a colour that no avatar has."""
    own = own_clip(painted_track(), 6)
    worn = put_on(painted_avatar(), painted_avatar(1), HAIR, load_rig())
    borrowed = (_picture(worn).clamp(0, 1) * 255).round().to(torch.uint8)
    there = borrowed.amin(-1) < 250
    borrowed[..., 0] = torch.where(there, borrowed[..., 0] // 2, borrowed[..., 0])
    normals = torch.full_like(borrowed, 127)
    normals[..., 2] = torch.where(there, torch.tensor(0, dtype=torch.uint8), normals[..., 2])  # towards the camera
    part = torch.zeros(borrowed.shape[:3], dtype=torch.uint8)
    clip = CodedClip(images=borrowed, mattes=255 * there.to(torch.uint8), parts=part, normals=normals,
                parameters=parameters(3), sources={HAIR: "anna"})  # fmt: skip
    return own, clip


def _fit(config: FitConfig, context: FitContext | None = None) -> tuple[FieldGenerative, dict[str, float]]:
    return fit_field_generative(_start(), _clips(), load_rig(), config, GenerativeRates(), context)


@cache
def _trained() -> tuple[FieldGenerative, dict[str, float]]:
    return _fit(CONFIG)


def _decoded(generative: GenerativeAvatar, **sources: str) -> Avatar:
    chosen = {Attribute(name): generative.blocks[Attribute(name)].code(source) for name, source in sources.items()}
    return generative.decode(generative.codes(chosen), load_rig())


def test_every_code_begins_as_its_source() -> None:
    still = dict.fromkeys(("networks", "codes"), 0.0)
    config = replace(CONFIG, rates=LearningRates(**still), settle_steps=200)
    settled, _ = fit_field_generative(
        _start(), _clips()[:1], load_rig(), config, GenerativeRates(state=0, basis=0, codes=0)
    )
    for sources in ({}, {"hair": "anna"}, {"hair": "bert", "nose": "anna"}):
        near = (_picture(_decoded(settled, **sources)) - _picture(_decoded(_start(), **sources))).abs().mean()
        far = (_picture(_decoded(settled, **sources)) - _picture(_decoded(_start(), hair="anna", nose="anna"))).abs()
        assert float(near) < 0.02
        assert float(near) < float(far.mean())


def test_a_code_changes_its_own_points_and_a_mixture_lies_between() -> None:
    generative, rig = _trained()[0], load_rig()
    codes = [generative.blocks[HAIR].code(name) for name in ("anna", "bert")]
    made = [generative.decode(generative.codes({HAIR: mix(*codes, share)}), rig) for share in (0.0, 0.5, 1.0)]
    start, end = generative.membership()[HAIR]
    hair = [avatar.offsets[start:end] for avatar in made]
    whole = (hair[0] - hair[2]).norm(dim=1).mean()
    assert float((hair[1] - (hair[0] + hair[2]) / 2).norm(dim=1).mean()) < 0.1 * float(whole)
    rest = (made[0].offsets - made[2].offsets).norm(dim=1)
    assert float(rest[:start].mean()) < 0.1 * float(whole)
    worn = _decoded(generative, nose="anna")
    torch.testing.assert_close(
        worn.shape[rig.axes_of(NOSE)], painted_avatar(1).shape[rig.axes_of(NOSE)], atol=1e-4, rtol=0
    )


def test_training_learns_what_no_avatar_knows_and_resumes_exactly(tmp_path: Path) -> None:
    trained, figures = _trained()
    truth = _clips()[1].images.float() / 255
    errors = [float((_picture(_decoded(one, hair="anna")) - truth).abs().mean()) for one in (_start(), trained)]
    assert errors[1] < errors[0]
    assert set(figures) == {"loss_settled", "loss_target", "loss_swaps"}
    checkpoint = tmp_path / "state.safetensors"

    class Killed(Exception):  # a worker's death
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "replace", _killing(3, Killed))
        with pytest.raises(Killed):
            _fit(CONFIG, FitContext(checkpoint=checkpoint))
    assert checkpoint.exists()
    resumed, again = _fit(CONFIG, FitContext(checkpoint=checkpoint))
    assert again == figures
    whole, anew = dump_generative(trained), dump_generative(resumed)
    for file in ("avatar.safetensors", NETWORKS):
        one, other = load(whole[file]), load(anew[file])
        assert set(one) == set(other)
        for name, value in one.items():
            assert torch.equal(other[name], value), name


def _killing(after: int, killed: type[Exception]) -> Callable[[Path, Path], Path]:
    """`Path.replace` that ends the work once so many checkpoints have been written."""
    plain, written = Path.replace, []

    def replaced(path: Path, target: Path) -> Path:
        done = plain(path, target)
        written.append(target)
        if len(written) == after:
            raise killed
        return done

    return replaced


def test_a_generative_avatar_of_fields_survives_its_files() -> None:
    generative, _ = _trained()
    loaded, config = load_generative(dump_generative(generative))
    assert isinstance(loaded, FieldGenerative)
    assert config.preset == "paper" and config.blocks["hair"].sources == ("own", "anna", "bert")
    for sources in ({}, {"hair": "bert", "nose": "anna"}):
        one, other = _decoded(generative, **sources), _decoded(loaded, **sources)
        for name in ("offsets", "albedo", "opacity_logits", "position_basis", "lights", "shape"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(
    "fault", ["no networks", "broken", "a code more", "no performance", "long performance", "not finite", "width"]
)
def test_files_of_strangers_are_refused(fault: str) -> None:
    files = dump_generative(_trained()[0])
    _, config = load_generative(files)
    fields = config.fields
    assert fields is not None
    changes = {
        "a code more": {"fields": fields.model_copy(update={"choices": {**fields.choices, "hair": 4}})},
        "no performance": {"performance": 0},
        "long performance": {"performance": config.performance + 1},
        "width": {"fields": fields.model_copy(update={"field_width": 25})},
    }
    if fault == "no networks":
        del files[NETWORKS]
    elif fault == "broken":
        files[NETWORKS] = files[NETWORKS][:-10]
    elif fault == "not finite":
        tensors = load(files[NETWORKS])
        tensors["performance.head"][0, 0] = float("nan")
        files[NETWORKS] = save(tensors)
    else:
        files["config.json"] = config.model_copy(update=changes[fault]).model_dump_json().encode()
    with pytest.raises(PegasusError) as caught:
        load_generative(files)
    assert caught.value.reason is Reason.BAD_REFERENCE


def test_a_tint_of_one_half_changes_nothing() -> None:
    colours = torch.rand(20, 3, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    torch.testing.assert_close(tint(colours, torch.full_like(colours, 0.5)), colours)
    assert bool((tint(colours, torch.full_like(colours, 0.8)) > colours).all())


def test_normals_are_compared_where_both_are_known() -> None:
    drawn = torch.zeros(1, 2, 2, 3)
    drawn[..., 2] = -1
    drawn[0, 1] = 0  # nothing is drawn there
    pseudo = drawn.clone()
    pseudo[0, 1, :, 2] = -1
    assert float(rendered_normal_loss(0.5 * drawn, pseudo)) == 0
    pseudo[0, 0, 0] = torch.tensor([0.0, 0.0, 1.0])
    assert float(rendered_normal_loss(drawn, pseudo)) == pytest.approx(1.0)
    pseudo[0, 0] = 0  # nobody knows there
    assert float(rendered_normal_loss(drawn, pseudo)) == 0
