"""A SegFormer's classes come out under our names, in the frame, whatever order its own classes have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.perception.nets.segformer import LABEL_OF_NAME, SegformerParser
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Label
from tests.perception.faces import portrait

transformers = pytest.importorskip("transformers", reason="the extra `segformer` is not installed")


def save_net(folder: Path, names: list[str], favourite: str) -> Path:
    """A tiny random SegFormer that sees its favourite class everywhere."""
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[8, 4],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 1],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label=dict(enumerate(names)),
        label2id={name: place for place, name in enumerate(names)},
    )
    net = transformers.SegformerForSemanticSegmentation(config)
    net.decode_head.classifier.bias.data[names.index(favourite)] += 1000
    net.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("favourite", ["hair", "cloth"])
def test_classes_are_known_by_name_in_any_order(tmp_path: Path, favourite: str) -> None:
    names = list(LABEL_OF_NAME)
    np.random.default_rng(1).shuffle(names)
    image, matte, points = portrait(128)
    labels = SegformerParser(save_net(tmp_path / "net", names, favourite))(image, points, matte)
    assert labels.shape == (128, 128)
    assert labels.dtype == np.uint8
    assert ((labels == Label.BACKGROUND) == (matte <= 127)).all()
    assert set(np.unique(labels[matte > 127])) == {LABEL_OF_NAME[favourite]}


def test_all_our_labels_have_a_name() -> None:
    assert set(LABEL_OF_NAME.values()) == set(Label)


def test_other_classes_and_other_files_are_refused(tmp_path: Path) -> None:
    save_net(tmp_path / "street", ["road", "car"], "car")
    with pytest.raises(PegasusError) as caught:
        SegformerParser(tmp_path / "street")
    assert caught.value.reason is Reason.ASSET_CORRUPT
    assert "road" in caught.value.message
    (tmp_path / "street" / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(PegasusError) as caught:
        SegformerParser(tmp_path / "street")
    assert caught.value.reason is Reason.ASSET_CORRUPT


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = save_net(tmp_path / "net", list(LABEL_OF_NAME), "hair")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(PegasusError) as caught:
        SegformerParser(folder)
    assert caught.value.reason is Reason.ASSET_CORRUPT
