"""Coordinate networks whose derivatives by the coordinates are written out, so that training needs no second backward pass.

All points share one code, so the product of the code with a layer is one bias vector: W [x, z] = W_x x + W_z z.

Legend: N points, I inputs, O outputs, H width, L layers, Z length of the code, T tangent directions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.parametrizations import weight_norm

SOFTPLUS_BETA = 100.0
"""Sharpness of the softplus, which is close to a ReLU but has a second derivative."""


def linear_layer(
    values: Tensor,  # (..., I)
    weight: Tensor,  # (O, I)
    bias: Tensor | None = None,  # (O,)
) -> Tensor:
    """A linear layer, (..., O). On a GPU the matrix product is in bfloat16; the result has the dtype of `values`."""
    with torch.autocast(values.device.type, torch.bfloat16, enabled=values.is_cuda):
        return linear(values, weight, bias).to(values.dtype)


class _SoftplusWithSlope(torch.autograd.Function):
    """Softplus and its slope in one operation. Both carry gradients, and only the slope is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.sigmoid(SOFTPLUS_BETA * values)
        ctx.save_for_backward(slope)
        # log(1 + eˣ) = max(x, 0) − log max(σ(x), σ(−x)): reuses the sigmoid, in half the time of `softplus`.
        bent = torch.maximum(slope, 1 - slope).log_().div_(-SOFTPLUS_BETA)
        return bent.add_(values.clamp(min=0)), slope

    @staticmethod
    def backward(ctx: Any, by_value: Tensor, by_slope: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        bend = torch.addcmul(slope, slope, slope, value=-1).mul_(SOFTPLUS_BETA)
        return bend.mul_(by_slope).addcmul_(by_value, slope)


@dataclass(frozen=True, slots=True)
class Trace:
    """A trunk's last activations, and what its derivatives need from the forward pass."""

    hidden: Tensor  # (N, H) last activations
    slopes: tuple[Tensor, ...]  # L of (N, H): the softplus' slope at each layer
    weights: tuple[Tensor, ...]  # L of (H, I or H)


class Trunk(nn.Module):
    """L softplus layers over points under a code.

    Args:
        inputs: I.
        width: H.
        depth: L.
        code: Z.
        skip: number of the layer that sees the inputs and the code again; none without it.
        normalize: reparametrise the layers' weights by direction and length.
    """

    def __init__(
        self, inputs: int, width: int, depth: int, code: int, *, skip: int | None = None, normalize: bool = False
    ) -> None:
        super().__init__()
        self.skip = skip if skip is not None and skip < depth else None
        layers = [nn.Linear(inputs if place == 0 else width, width) for place in range(depth)]
        self.layers = nn.ModuleList(weight_norm(layer) if normalize else layer for layer in layers)
        self.coded = nn.Linear(code, width, bias=False)
        again = 0 if self.skip is None else 1
        self.skipped = nn.ModuleList(nn.Linear(inputs, width, bias=False) for _ in range(again))
        self.recoded = nn.ModuleList(nn.Linear(code, width, bias=False) for _ in range(again))

    def forward(
        self,
        inputs: Tensor,  # (N, I)
        code: Tensor,  # (Z,)
    ) -> Trace:
        """The trunk at points."""
        hidden, slopes, weights = inputs, [], []
        for place, layer in enumerate(linears(self.layers)):
            weight, bias = layer.weight, layer.bias
            if place == 0:
                bias = bias + self.coded(code)
            if place == self.skip:
                bias = bias + self.recoded[0](code)
            values = linear_layer(hidden, weight, bias)
            if place == self.skip:
                values = values + linear_layer(inputs, linears(self.skipped)[0].weight)
            hidden, slope = cast(tuple[Tensor, Tensor], _SoftplusWithSlope.apply(values))  # type: ignore[no-untyped-call]
            slopes.append(slope)
            weights.append(weight)
        return Trace(hidden, tuple(slopes), tuple(weights))

    def pull_back(
        self,
        trace: Trace,
        direction: Tensor,  # (H,) or (N, H): a derivative by the last activations
    ) -> Tensor:
        """The derivative by the inputs, (N, I), in one backward sweep that is itself differentiable."""
        through_skip: Tensor | None = None
        for place in reversed(range(len(trace.slopes))):
            direction = direction * trace.slopes[place]
            if place == self.skip:
                through_skip = linear_layer(direction, linears(self.skipped)[0].weight.T)
            direction = linear_layer(direction, trace.weights[place].T)
        return direction if through_skip is None else direction + through_skip

    def push_forward(
        self,
        trace: Trace,
        tangents: Tensor,  # (T, N, I) directions of the inputs
    ) -> Tensor:
        """The derivatives (T, N, H) of the last activations when the inputs move along `tangents`."""
        moving = tangents
        for place, (slope, weight) in enumerate(zip(trace.slopes, trace.weights, strict=True)):
            through_skip = linear_layer(tangents, linears(self.skipped)[0].weight) if place == self.skip else 0.0
            moving = (linear_layer(moving, weight) + through_skip) * slope
        return moving


def linears(modules: nn.ModuleList) -> list[nn.Linear]:
    """The layers of a list of linear layers, typed as such."""
    return cast(list[nn.Linear], list(modules))


def initialise_as_sphere(trunk: Trunk, output: nn.Linear, radius: float, generator: torch.Generator) -> None:
    """Set the weights so that `output`'s first number is near |x| − radius for inputs that start with x.

    All other inputs (the encoding of x, the code, the skip) start with zero weights.

    Source: geometric initialisation of signed distance networks (SAL, arXiv 1911.10414), as the reference uses it.
    """
    with torch.no_grad():
        for place, layer in enumerate(linears(trunk.layers)):
            weight = torch.zeros_like(layer.weight)
            used = 3 if place == 0 else weight.shape[1]
            weight[:, :used] = torch.randn(len(weight), used, generator=generator) * math.sqrt(2 / len(weight))
            layer.weight = cast(nn.Parameter, weight)  # goes through the parametrisation, which splits it
            layer.bias.zero_()
        for unused in (trunk.coded, *linears(trunk.skipped), *linears(trunk.recoded)):
            unused.weight.zero_()
        first = torch.randn(output.weight.shape[1], generator=generator) * 1e-4
        output.weight[0] = first + math.sqrt(math.pi) / math.sqrt(output.weight.shape[1])
        output.bias[0] = -radius
