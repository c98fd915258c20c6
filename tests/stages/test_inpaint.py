"""Bald completion by diffusion: the real pipeline, loaded from a folder of tiny random models, repaints the mask alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.stages.inpaint import DiffusionConfig, load_inpainter

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

SIDE = 64


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> DiffusionConfig:
    """A pipeline of the real classes with a few thousand random weights, saved as the Hub would have it."""
    from diffusers import (
        AutoencoderKL,
        ControlNetModel,
        DDIMScheduler,
        StableDiffusionControlNetInpaintPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny")
    shape = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        **shape,
    )
    net = ControlNetModel.from_unet(unet, conditioning_channels=3, conditioning_embedding_out_channels=(4, 8))
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        **shape,
    )
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a": 2, "a</w>": 3}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=16)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=4,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=0,
            eos_token_id=1,
        )
    )
    pipe = StableDiffusionControlNetInpaintPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        controlnet=net,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder / "model", safe_serialization=True)
    net.save_pretrained(folder / "net", safe_serialization=True)
    return DiffusionConfig(model=str(folder / "model"), controlnet=str(folder / "net"), steps=2, side=SIDE)


def test_only_what_is_gone_is_painted_and_the_same_seed_paints_the_same(tiny: DiffusionConfig) -> None:
    image = np.random.default_rng(0).random((48, 48, 3)).astype(np.float32)
    gone = np.zeros((48, 48), bool)
    gone[:16] = True
    painter = load_inpainter(tiny)
    first, second = painter(image, gone), painter(image, gone)
    assert np.array_equal(first[~gone], image[~gone])
    assert np.abs(first[gone] - image[gone]).mean() > 0.05
    assert np.array_equal(first, second)
    assert np.isfinite(first).all() and first.min() >= 0 and first.max() <= 1


def test_models_that_are_not_there_are_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(PegasusError, match=r"swap\.bald=rig") as caught:
        load_inpainter(DiffusionConfig(model=str(tmp_path / "none"), controlnet=str(tmp_path / "none")))
    assert caught.value.reason is Reason.ASSET_MISSING
