"""The ablation gives each variant a mean and a deviation of each figure; its variants set different fields of the settings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fit.config import FitConfig, Resolution
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.evaluate.ablation import VARIANTS, AblationConfig, run_ablation
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute

EXAM = AblationConfig(
    size=32, frames=4, unseen=1, attributes=(Attribute.NOSE,), steps=2, seeds=2, person=4, perceptual="none"
)
FIT = FitConfig(
    stages=(Resolution(scale=1.0, steps=4),),
    budget=PointBudget(surface=500, hair=200, cloth=40),
    fields=FieldConfig(code=2, field_width=8, field_depth=2, deformer_width=8, deformer_depth=2, shading_width=8),
    batch=2,
    motion_components=2,
    evidence_frames=3,
)


def test_every_variant_has_a_mean_and_a_spread() -> None:
    found = run_ablation(EXAM, FIT, ["no_offsets", "full"])
    for name in ("no_offsets", "full"):
        assert set(found[name]) == {"psnr", "ssim"}
        assert all(spread >= 0 for _, spread in found[name].values())
        assert 5 < found[name]["psnr"][0] < 40
    assert found["perceptual_model"] == "none" and found["steps"] == 2 and found["seeds"] == 2


def test_variants_name_switches_that_there_are() -> None:
    assert len({tuple(sorted(switches.items())) for switches in VARIANTS.values()}) == len(VARIANTS)
    for switches in VARIANTS.values():
        assert replace(FieldConfig(), **switches) is not None


@pytest.mark.parametrize(("fit", "names"), [(FitConfig(), ["full"]), (FIT, ["fuller"])])
def test_what_cannot_be_ablated_is_said(fit: FitConfig, names: list[str]) -> None:
    with pytest.raises(PegasusError) as caught:
        run_ablation(EXAM, fit, names)
    assert caught.value.reason is Reason.BAD_CONFIG
