"""Loss terms of the fields (paper §4.3), one small function each.

Legend: N points, E expressions, Q pose features, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldWeights:
    """How much each term counts: the reference's weights."""

    colour: float = 1.0
    square: float = 0.0  # beside L1; none, as the reference
    edges: float = 0.0
    mask: float = 1.0
    perceptual: float = 0.1
    eikonal: float = 0.1
    surface: float = 1.0
    skinning_prior: float = 0.1  # times λ, as the next
    basis_prior: float = 1.0  # on relative errors: see `basis_prior_loss`
    motion: float = 1.0  # on what the rig knows nothing of
    normal: float = 0.1  # from the second stage on
    segment: float = 0.1
    code: float = 0.01
    prior_start: float = 10.0  # λ
    prior_halvings: int = 4  # over the whole fit


def prior_scale(share: float, start: float, halvings: int) -> float:
    """λ at a share 0–1 of the fit: halved `halvings` times at even distances."""
    return start * 0.5 ** min(int(share * (halvings + 1)), halvings)


def eikonal_loss(
    gradient: Tensor,  # (N, 3)
) -> Tensor:
    """How far the signed distance is from a distance: its gradient has length one."""
    length: Tensor = gradient.norm(dim=-1)
    return (length - 1).square().mean()


def surface_loss(
    distance: Tensor,  # (N,)
) -> Tensor:
    """Points lie where the signed distance is zero."""
    return distance.abs().mean()


def skinning_prior_loss(
    change: Tensor,  # (N, J) learned weights less the rig's
) -> Tensor:
    """Mean squared difference from the rig's skinning."""
    return change.square().sum(-1).mean()


def basis_prior_loss(
    change: Tensor,  # (E or Q, N, 3) learned bases less the rig's, metres
    own: Tensor,  # (E or Q, N, 3) the rig's
    *,
    floor: float = 1e-3,
) -> Tensor:
    """Mean over the bases of the squared difference from the rig's, by the squared size of the rig's own and a floor in metres.

    The reference divides by each basis' variance; so small expressions count as much as large ones.
    """
    if len(change) == 0:
        return change.new_zeros(())
    size = own.square().sum(-1).mean(-1) + floor**2
    relative: Tensor = change.square().sum(-1).mean(-1) / size
    return relative.mean()


def normal_loss(
    normals: Tensor,  # (N, 3) unit length
    pseudo: Tensor,  # (N, 3) unit length: what they should be
    trust: Tensor,  # (N,) 0–1
) -> Tensor:
    """L1 of normals against pseudo ground truth, mean over what is trusted.

    For a single person these are the rig's own normals where a point is skin; both sides are compared in canonical
    space, as posing turns them alike.
    """
    return ((normals - pseudo).abs().sum(-1) * trust).sum() / trust.sum().clamp(min=1)


def facing_loss(
    drawn: Tensor,  # (B, S, S, 3) composited normals, weighted by opacity
    pseudo: Tensor,  # (B, S, S, 3) unit length, zero where they are not known
) -> Tensor:
    """L1 of a picture's normals against pseudo ground truth, mean over the pixels where both are something (L_normal of §4.3)."""
    known = (pseudo.norm(dim=-1) > 0.5) & (drawn.detach().norm(dim=-1) > 0.1)
    unit = nn.functional.normalize(drawn, dim=-1)
    loss: Tensor = ((unit - pseudo).abs().sum(-1) * known).sum() / known.sum().clamp(min=1)
    return loss
