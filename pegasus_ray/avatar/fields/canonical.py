"""The canonical field: signed distance, albedo and χ of a place in the subject's canonical space (paper Eq. 10).

Legend: N points, Z length of the code, F frequencies.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.grid import Grid
from pegasus_ray.avatar.fields.mlp import Trunk, make_spherical

SCALE = 4.0
"""Field units a metre: a head is about a unit across, as in the reference."""

CENTRE = (0.0, 0.0, -0.09)
"""The origin of the fields, the middle of the head: metres in the rig's rest space."""

ALBEDO_GAIN = 10.0
"""Albedo is sigmoid(10 ·): colours learn at a rate that suits the distances."""


PAINTER = 32
"""Width of the layer that joins the grid's features with the trunk's."""


@dataclass(frozen=True, slots=True)
class FieldValues:
    """The canonical field at points."""

    distance: Tensor  # (N,) field units
    gradient: Tensor  # (N, 3) of the distance; of length 1 where the field is a distance
    albedo: Tensor  # (N, 3) 0–1
    membership: Tensor  # (N,) the logit of χ: the synthesised part

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Distance, gradient, albedo, membership."""
        return self.distance, self.gradient, self.albedo, self.membership


def to_units(positions: Tensor) -> Tensor:
    """Places (..., 3) in metres to field units."""
    return SCALE * (positions - torch.tensor(CENTRE, dtype=positions.dtype, device=positions.device))


def encode(places: Tensor, frequencies: int) -> Tensor:
    """x, sin 2^f x, cos 2^f x of places (N, 3): (N, 3 + 6 F)."""
    waves = (places[:, None] * _octaves(places, frequencies)[:, None]).flatten(1)
    return torch.cat([places, waves.sin(), waves.cos()], dim=-1)


def encode_pull_back(places: Tensor, by_encoded: Tensor, frequencies: int) -> Tensor:
    """The derivative by places (N, 3), of that by their encoding (N, 3 + 6 F)."""
    octaves = _octaves(places, frequencies)
    waves = places[:, None] * octaves[:, None]
    plain, by_sine, by_cosine = torch.split(by_encoded, [3, 3 * frequencies, 3 * frequencies], dim=-1)
    turned = by_sine.view_as(waves) * waves.cos() - by_cosine.view_as(waves) * waves.sin()
    total: Tensor = plain + (turned * octaves[:, None]).sum(1)
    return total


def _octaves(like: Tensor, frequencies: int) -> Tensor:
    return 2.0 ** torch.arange(frequencies, dtype=like.dtype, device=like.device)


class CanonicalField(nn.Module):
    """A place and a code to distance, its gradient, albedo and χ; begins as the distance to a sphere."""

    def __init__(
        self,
        code: int,
        *,
        width: int = 512,
        depth: int = 9,
        skip: int = 4,
        frequencies: int = 6,
        radius: float = 0.6,
        levels: int = 0,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.trunk = Trunk(3 + 6 * frequencies, width, depth, code, skip=skip, normalize=True)
        self.output = nn.Linear(width, 5)
        with torch.no_grad():
            self.output.weight.copy_(torch.randn(5, width, generator=generator) * 0.1 / width**0.5)
            self.output.bias.zero_()
        make_spherical(self.trunk, self.output, radius, generator)
        self.grid: Grid | None = None
        self.painter: nn.Sequential | None = None
        if levels:
            self.grid = Grid(levels, generator)
            last = nn.Linear(PAINTER, 4)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.painter = nn.Sequential(nn.Linear(self.grid.width + width, PAINTER), nn.ReLU(), last)

    def leave_colours(self) -> None:
        """Begin with the same albedo everywhere, one half: a tint that changes nothing."""
        with torch.no_grad():
            self.output.weight[1:4] = 0
            self.output.bias[1:4] = 0

    def forward(
        self,
        positions: Tensor,  # (N, 3) metres, subject canonical space
        code: Tensor,  # (Z,)
    ) -> FieldValues:
        """The field and its gradient, differentiable by positions, code and weights."""
        places = to_units(positions)
        trace = self.trunk(encode(places, self.frequencies), code)
        values = self.output(trace.hidden)
        painted = values[:, 1:]
        if self.grid is not None and self.painter is not None:
            painted = painted + self.painter(torch.cat([self.grid(places), trace.hidden], dim=-1))
        by_encoded = self.trunk.pull_back(trace, self.output.weight[0])
        return FieldValues(
            distance=values[:, 0],
            gradient=encode_pull_back(places, by_encoded, self.frequencies),
            albedo=torch.sigmoid(ALBEDO_GAIN * painted[:, :3]),
            membership=painted[:, 3],
        )
