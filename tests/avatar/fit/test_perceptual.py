"""Perceptual networks: their shapes, their weights' files, and a distance that sees structure."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pegasus_ray.avatar.fit.perceptual import (
    EFFICIENTNET,
    VGG,
    extract_features,
    load_perceptual,
    perceptual_loss,
    random_perceptual,
)
from pegasus_ray.schemas.errors import PegasusError, Reason

WIDTHS = {VGG: [(64, 224), (128, 112), (256, 56), (512, 28)], EFFICIENTNET: [(16, 112), (24, 56), (40, 28), (112, 14)]}


@pytest.mark.parametrize("name", [VGG, EFFICIENTNET])
def test_features_have_the_network_s_sizes_and_carry_gradient(name: str) -> None:
    network = random_perceptual(name, torch.Generator().manual_seed(0))
    picture = torch.rand(1, 48, 48, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    found = extract_features(network, picture)
    assert [(part.shape[1], part.shape[2]) for part in found] == WIDTHS[name]
    truth = [part.detach() for part in extract_features(network, 1 - picture)]
    loss = perceptual_loss(found, truth)
    (slope,) = torch.autograd.grad(loss, picture)
    assert float(loss.detach()) > 0 and float(slope.abs().max()) > 0
    assert float(perceptual_loss(truth, truth)) == 0


def test_weights_come_from_a_file_of_tensors(tmp_path: Path) -> None:
    network = random_perceptual(EFFICIENTNET, torch.Generator().manual_seed(0))
    held = {name: network.get_buffer(name.replace(".", "-")) for name in type(network).shapes()}  # type: ignore[attr-defined]
    picture = torch.rand(1, 32, 32, 3)
    expected = extract_features(network, picture)
    torch.save(held, tmp_path / "weights.pth")
    save_file(held, tmp_path / "weights.safetensors")
    for name in ("weights.pth", "weights.safetensors"):
        for one, other in zip(
            extract_features(load_perceptual(EFFICIENTNET, tmp_path / name), picture), expected, strict=True
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("vgg17", None, Reason.BAD_CONFIG),
        (VGG, None, Reason.ASSET_MISSING),
        (VGG, b"", Reason.ASSET_CORRUPT),
        (VGG, b"no weights at all", Reason.ASSET_CORRUPT),
    ],
)
def test_what_is_wrong_with_weights_is_said(tmp_path: Path, name: str, content: bytes | None, reason: Reason) -> None:
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PegasusError) as caught:
        load_perceptual(name, path)
    assert caught.value.reason is reason


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(PegasusError) as caught:
        load_perceptual(VGG, path)
    assert caught.value.reason is Reason.ASSET_CORRUPT and "features.0.bias" in caught.value.message
