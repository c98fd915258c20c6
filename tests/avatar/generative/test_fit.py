"""Training lowers the loss, and a killed training resumes exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pegasus_ray.avatar.borrow.put_on import put_on
from pegasus_ray.avatar.files.generative import generative_tensors
from pegasus_ray.avatar.fit.loop import FitContext
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.clips import CodedClip
from pegasus_ray.avatar.generative.coded_parameters import GenerativeRates
from pegasus_ray.avatar.generative.fit import GenerativeConfig, fit_generative
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.stages.personalize import own_clip
from tests.avatar.generative.two_sources import picture, two_sources
from tests.painted import painted_avatar, painted_track, parameters

RATES = GenerativeRates(state=2.0, basis=2.0)
HAIR = Attribute.HAIR


def _clips() -> list[CodedClip]:
    own = own_clip(painted_track(), 6)
    worn = put_on(painted_avatar(), painted_avatar(1), HAIR, load_rig())
    borrowed = (picture(worn).clamp(0, 1) * 255).round().to(torch.uint8)
    part = torch.zeros(borrowed.shape[:3], dtype=torch.uint8)
    red = borrowed[..., 0]
    borrowed[..., 0] = torch.where(borrowed.amin(-1) < 250, red // 2, red)  # a tint that the codes do not know yet
    clip = CodedClip(images=borrowed, mattes=255 * (borrowed.amin(-1) < 255).to(torch.uint8), parts=part,
                parameters=parameters(3), sources={HAIR: "anna"})  # fmt: skip
    return [own, clip]


def test_training_lowers_the_loss_and_resumes_exactly(tmp_path: Path) -> None:
    config = GenerativeConfig(code_size=4, target_steps=8, swap_steps=32, checkpoint_every=10, rates=RATES)
    start, rig, clips = two_sources(), load_rig(), _clips()
    trained, figures = fit_generative(start, clips, rig, config)
    assert figures["loss_swaps"] > 0 and set(figures) == {"loss_target", "loss_swaps"}
    code = start.blocks[HAIR].code("anna")

    def error(generative: GenerativeAvatar) -> float:
        worn = generative.decode(generative.codes({HAIR: generative.blocks[HAIR].code("anna")}), rig)
        return float((picture(worn) - clips[1].images.float() / 255).abs().mean())

    assert error(trained) < error(start)
    assert not torch.equal(trained.blocks[HAIR].code("anna"), code)
    checkpoint = tmp_path / "state.safetensors"

    def die(share: float, _text: str) -> None:
        if share > 0.4:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit_generative(start, clips, rig, config, FitContext(progress=die, checkpoint=checkpoint))
    resumed, again = fit_generative(start, clips, rig, config, FitContext(checkpoint=checkpoint))
    assert again == figures
    for name, value in generative_tensors(trained).items():
        assert torch.equal(generative_tensors(resumed)[name], value), name
