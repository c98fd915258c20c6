"""Loss terms of a fit, one small function each (paper §4.3), and their weights for both presets.

Legend: B frames, S side, Z motion components, N points, E expressions, Q pose features, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """Weights of the terms for explicit points."""

    colour: float = 3.0
    edges: float = 1.5
    square: float = 8.0
    mask: float = 1.0
    relief: float = 0.3  # against points that hover in front of or behind their neighbours
    offsets: float = 40.0  # per square metre, mean over the points
    position_basis: float = 20.0  # per square metre
    colour_basis: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldWeights:
    """Weights of the terms for fields: the reference's."""

    colour: float = 1.0
    square: float = 0.0  # this and the next: in addition to L1; the reference has neither
    edges: float = 0.0
    mask: float = 1.0
    perceptual: float = 0.1
    eikonal: float = 0.1
    surface: float = 1.0
    skinning_prior: float = 0.1  # this and the next are multiplied by λ
    basis_prior: float = 1.0  # on relative errors: see `basis_prior_loss`
    motion: float = 1.0  # on bases over the motion code, of which the rig knows nothing
    normal: float = 0.1
    segment: float = 0.1
    code: float = 0.01
    prior_start: float = 10.0  # λ at the start
    prior_halvings: int = 4  # of λ over the whole fit


def colour_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """L1 of images (B, S, S, 3), 0–1."""
    return (rendered - truth).abs().mean()


def square_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """Mean squared error of images (B, S, S, 3)."""
    return (rendered - truth).square().mean()


def edge_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """L1 of the horizontal and vertical differences of images (B, S, S, 3): keeps edges sharp."""
    error = rendered - truth
    return error.diff(dim=1).abs().mean() + error.diff(dim=2).abs().mean()


def mask_loss(alpha: Tensor, matte: Tensor) -> Tensor:
    """L1 of opacity (B, S, S) against the matte, both 0–1."""
    return (alpha - matte).abs().mean()


def relief_loss(offsets: Tensor, alpha: Tensor, *, step: float = 0.012) -> Tensor:
    """How much offsets from the rig differ between neighbouring pixels: keeps points from hovering off a surface.

    Offsets are compared rather than positions, so that the rig's own curvature costs nothing.

    Args:
        offsets: (B, S, S, 3) composited offsets in metres, weighted by opacity.
        alpha: (B, S, S).
        step: metres; a difference of this size costs 1, and a larger one (a real edge) costs no more.
    """
    field = offsets / alpha.clamp(min=0.1)[..., None]
    solid = (alpha > 0.9).to(field)
    across = ((field.diff(dim=1).square().sum(-1) + 1e-10).sqrt() / step).clamp(max=1) * solid[:, 1:] * solid[:, :-1]
    along = (
        ((field.diff(dim=2).square().sum(-1) + 1e-10).sqrt() / step).clamp(max=1) * solid[:, :, 1:] * solid[:, :, :-1]
    )
    return across.mean() + along.mean()


def segment_loss(rendered: Tensor, truth: Tensor) -> Tensor:
    """Binary cross-entropy of a composited share (B, S, S) 0–1 against a mask (paper Eq. 10's χ)."""
    return torch.nn.functional.binary_cross_entropy(rendered.clamp(1e-4, 1 - 1e-4), truth)


def code_loss(codes: Tensor) -> Tensor:
    """Mean square of latent codes, which keeps them near the origin around which they were drawn."""
    return codes.square().mean()


def prior_scale(share: float, start: float, halvings: int) -> float:
    """The weight λ of the rig prior at a share 0–1 of the fit: `start`, halved `halvings` times at equal intervals."""
    return start * 0.5 ** min(int(share * (halvings + 1)), halvings)


def eikonal_loss(
    gradient: Tensor,  # (N, 3)
) -> Tensor:
    """Mean squared deviation of the gradient's length from 1, which it has where the field is a true distance."""
    length: Tensor = gradient.norm(dim=-1)
    return (length - 1).square().mean()


def surface_loss(
    distance: Tensor,  # (N,)
) -> Tensor:
    """Mean absolute signed distance of the points, which should lie on its zero surface."""
    return distance.abs().mean()


def skinning_prior_loss(
    change: Tensor,  # (N, J) learned weights less the rig's
) -> Tensor:
    """Mean squared difference from the rig's skinning weights."""
    return change.square().sum(-1).mean()


def basis_prior_loss(
    change: Tensor,  # (E or Q, N, 3) learned bases less the rig's, metres
    own: Tensor,  # (E or Q, N, 3) the rig's
    *,
    floor: float = 1e-3,  # metres
) -> Tensor:
    """Mean over the bases of the squared difference from the rig's, relative to the rig's squared size plus a floor.

    The reference divides by each basis' variance. Either way small expressions count as much as large ones.
    """
    if len(change) == 0:
        return change.new_zeros(())
    size = own.square().sum(-1).mean(-1) + floor**2
    relative: Tensor = change.square().sum(-1).mean(-1) / size
    return relative.mean()


def normal_loss(
    normals: Tensor,  # (N, 3) unit length
    pseudo: Tensor,  # (N, 3) unit length, pseudo ground truth
    trust: Tensor,  # (N,) 0–1
) -> Tensor:
    """L1 of points' normals against pseudo ground truth, mean over the points weighted by trust.

    For a single person the pseudo ground truth is the rig's own normals where a point is skin. Both are compared in canonical
    space, because posing turns them alike.
    """
    return ((normals - pseudo).abs().sum(-1) * trust).sum() / trust.sum().clamp(min=1)


def rendered_normal_loss(
    drawn: Tensor,  # (B, S, S, 3) composited normals, weighted by opacity
    pseudo: Tensor,  # (B, S, S, 3) unit length, zero where they are not known
) -> Tensor:
    """L1 of rendered normals against pseudo ground truth, mean over the pixels where both are known (L_normal of §4.3)."""
    known = (pseudo.norm(dim=-1) > 0.5) & (drawn.detach().norm(dim=-1) > 0.1)
    unit = nn.functional.normalize(drawn, dim=-1)
    loss: Tensor = ((unit - pseudo).abs().sum(-1) * known).sum() / known.sum().clamp(min=1)
    return loss
