"""A dense basis beside the named axes: the principal components of people sampled from a rig.

It lies within the span of the named axes, so it is represented as combinations of them and not as vertices.

Legend: N people, K named axes, D components, V vertices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.rig.model import Rig

SAMPLED_PEOPLE: Final = 2000  # people whose covariance gives the dense basis
AXIS_DEVIATION: Final = {
    "head": 0.16,
    "neck": 0.10,
    "nose": 0.30,
    "mouth": 0.26,
    "eyes": 0.22,
    "ears": 0.15,
    "cheek": 0.28,
    "chin": 0.26,
    "forehead": 0.20,
    "eyebrows": 0.25,
}
"""Standard deviation of the axes of a group among plausible people, in units of the axis; samples are clipped at two of them."""
MACRO_MAXIMUM: Final = {
    "macro/female": 1.0,
    "macro/african": 1.0,
    "macro/asian": 1.0,
    "macro/old": 0.25,
    "macro/fat": 0.3,
    "macro/thin": 0.4,
    "macro/muscle": 0.4,
    "macro/child": 0.0,
}
"""Greatest value of the axes of the whole person, in units of the axis; they are drawn uniformly from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseBasis:
    """Components in order of how much of people's variance they explain, each in standard deviations."""

    mean: Tensor  # (K,) the mean person's named axes
    components: Tensor  # (D, K) change of the named axes by one standard deviation of the component
    explained: Tensor  # (D,) share of the vertices' variance that the components up to and including this one explain

    def shape(self, weights: Tensor) -> Tensor:
        """The named axes (..., K) of people given by components (..., D)."""
        return self.mean + weights @ self.components

    def count(self, share: float) -> int:
        """How many components explain at least that share of the variance."""
        return int((self.explained < share).sum()) + 1


def sample_shapes(rig: Rig, people: int = SAMPLED_PEOPLE, seed: int = 0) -> Tensor:
    """Plausible people, (N, K). Numbered axes, as FLAME's, are in standard deviations already and are sampled as such."""
    source = torch.Generator().manual_seed(seed)
    normal = torch.randn(people, len(rig.shape_names), generator=source).clamp(-2, 2)
    uniform = torch.rand(people, len(rig.shape_names), generator=source)
    columns = [
        MACRO_MAXIMUM[name] * uniform[:, axis]
        if name in MACRO_MAXIMUM
        else AXIS_DEVIATION.get(name.partition("/")[0], 1.0) * normal[:, axis]
        for axis, name in enumerate(rig.shape_names)
    ]
    return torch.stack(columns, 1)


def dense_basis(rig: Rig, people: int = SAMPLED_PEOPLE, seed: int = 0) -> DenseBasis:
    """Principal components of the heads (not the shoulders) of sampled people.

    The eigenproblem is solved in the K named axes, with the Gram matrix of their displacements of the vertices. It is K × K
    and has the same solution as the principal component analysis of the N × 3V vertex coordinates.
    """
    shapes = sample_shapes(rig, people, seed).double()
    mean = shapes.mean(0)
    on_head = 1 - rig.skin_weights[:, rig.joint_names.index("root")]
    axes = (rig.shape_basis * on_head[:, None].clamp(min=0).sqrt()).flatten(1).double()
    gram = axes @ axes.T
    values, vectors = torch.linalg.eigh(torch.cov(shapes.T))
    half = vectors * values.clamp(min=0).sqrt()  # covariance = half · halfᵀ
    variance, directions = torch.linalg.eigh(half.T @ gram @ half)
    variance, directions = variance.flip(0).clamp(min=0), directions.flip(1)
    kept = variance > 1e-9 * variance[0]
    return DenseBasis(
        mean=mean.float(),
        components=(half @ directions).T[kept].float(),
        explained=(variance.cumsum(0) / variance.sum())[kept].float(),
    )
