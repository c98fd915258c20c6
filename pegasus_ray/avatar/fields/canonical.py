"""The canonical field: signed distance, albedo and χ of a place in the subject's canonical space (paper Eq. 10).

Legend: N points, Z length of the code, F frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fields.grid import HashGrid
from pegasus_ray.avatar.fields.mlp import Trunk, initialise_as_sphere

UNITS_PER_METRE = 4.0
"""Field units in a metre: a head is about one unit across, as in the reference."""

FIELD_ORIGIN_METRES = (0.0, 0.0, -0.09)
"""Origin of the field's coordinates in the rig's rest space: the middle of the head."""

INITIAL_RADIUS_UNITS = 0.6
"""Radius of the sphere whose signed distance the field starts as, in field units."""

ALBEDO_GAIN = 10.0
"""Albedo is sigmoid(10 ·), so that colours learn fast at the learning rate that suits the distances."""

COLOUR_LAYER_WIDTH = 32
"""Width of the layer that joins the grid's features with the trunk's."""


@dataclass(frozen=True, slots=True)
class FieldValues:
    """The canonical field at points."""

    distance: Tensor  # (N,) field units
    gradient: Tensor  # (N, 3) of the distance; of length 1 where the field is a distance
    albedo: Tensor  # (N, 3) 0–1
    membership: Tensor  # (N,) logit of χ, the probability that a point belongs to the synthesised part

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Distance, gradient, albedo, membership."""
        return self.distance, self.gradient, self.albedo, self.membership


def to_field_units(positions: Tensor) -> Tensor:
    """Places (..., 3) in metres as field units."""
    origin = torch.tensor(FIELD_ORIGIN_METRES, dtype=positions.dtype, device=positions.device)
    return UNITS_PER_METRE * (positions - origin)


def encode_places(places: Tensor, frequencies: int) -> Tensor:
    """Positional encoding x, sin 2^f x, cos 2^f x of places (N, 3): (N, 3 + 6 F)."""
    waves = (places[:, None] * _octaves(places, frequencies)[:, None]).flatten(1)
    return torch.cat([places, waves.sin(), waves.cos()], dim=-1)


def pull_back_encoding(places: Tensor, by_encoded: Tensor, frequencies: int) -> Tensor:
    """The derivative by places (N, 3), from the derivative by their encoding (N, 3 + 6 F)."""
    octaves = _octaves(places, frequencies)
    waves = places[:, None] * octaves[:, None]
    plain, by_sine, by_cosine = torch.split(by_encoded, [3, 3 * frequencies, 3 * frequencies], dim=-1)
    turned = by_sine.view_as(waves) * waves.cos() - by_cosine.view_as(waves) * waves.sin()
    total: Tensor = plain + (turned * octaves[:, None]).sum(1)
    return total


def _octaves(like: Tensor, frequencies: int) -> Tensor:
    return 2.0 ** torch.arange(frequencies, dtype=like.dtype, device=like.device)


class CanonicalField(nn.Module):
    """Maps a place and a code to signed distance, its gradient, albedo and χ; before training the distance is that to a sphere.

    Args:
        code: Z.
        config: sizes of the network.
        generator: the source of random numbers.
    """

    def __init__(self, code: int, config: FieldConfig, generator: torch.Generator) -> None:
        super().__init__()
        width, self.frequencies = config.field_width, config.frequencies
        inputs = 3 + 6 * self.frequencies
        self.trunk = Trunk(inputs, width, config.field_depth, code, skip=config.field_skip, normalize=True)
        self.output = nn.Linear(width, 5)
        with torch.no_grad():
            self.output.weight.copy_(torch.randn(5, width, generator=generator) * 0.1 / width**0.5)
            self.output.bias.zero_()
        initialise_as_sphere(self.trunk, self.output, INITIAL_RADIUS_UNITS, generator)
        self.grid: HashGrid | None = None
        self.painter: nn.Sequential | None = None
        if config.grid_levels:
            self.grid = HashGrid(config.grid_levels, generator)
            last = nn.Linear(COLOUR_LAYER_WIDTH, 4)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            joined = self.grid.width + width
            self.painter = nn.Sequential(nn.Linear(joined, COLOUR_LAYER_WIDTH), nn.ReLU(), last)

    def start_with_neutral_albedo(self) -> None:
        """Make the initial albedo one half everywhere, which as a tint changes nothing."""
        with torch.no_grad():
            self.output.weight[1:4] = 0
            self.output.bias[1:4] = 0

    def forward(
        self,
        positions: Tensor,  # (N, 3) metres, subject canonical space
        code: Tensor,  # (Z,)
    ) -> FieldValues:
        """The field and its gradient, differentiable by positions, code and weights."""
        places = to_field_units(positions)
        trace = self.trunk(encode_places(places, self.frequencies), code)
        values = self.output(trace.hidden)
        painted = values[:, 1:]
        if self.grid is not None and self.painter is not None:
            painted = painted + self.painter(torch.cat([self.grid(places), trace.hidden], dim=-1))
        by_encoded = self.trunk.pull_back(trace, self.output.weight[0])
        return FieldValues(
            distance=values[:, 0],
            gradient=pull_back_encoding(places, by_encoded, self.frequencies),
            albedo=torch.sigmoid(ALBEDO_GAIN * painted[:, :3]),
            membership=painted[:, 3],
        )
