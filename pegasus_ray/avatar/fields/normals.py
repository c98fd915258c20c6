"""Normals of deformed points (paper Eq. 3): the canonical normal carried by the inverse transpose of the deformation's Jacobian.

The Jacobian is put together in closed form from the fields' derivatives, which depend on the code alone and are shared by all
frames: a frame costs one small product a point.

Legend: B frames, N points, S signals, J joints, H activations.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rest_jacobian(
    still: Tensor,  # (N, 3, 3) of the rest position of a point without any motion
    hidden: Tensor,  # (3, N, H) of the activations that the bases of motion are linear in, a direction first
    heads: Tensor,  # (S, 3, H) that linear map
    signals: Tensor,  # (B, S)
) -> Tensor:
    """The Jacobian (B, N, 3, 3) of points moved by their bases, before skinning (Eq. 8).

    Signals are weighed first: the bases' own Jacobians, S of them a point, are never formed.
    """
    weighed = (signals @ heads.flatten(1)).view(-1, hidden.shape[-1])  # (B · 3, H)
    moved = (hidden.flatten(0, 1) @ weighed.T).view(3, len(still), len(signals), 3)
    return still + moved.permute(2, 1, 3, 0)


def skinning_jacobian(
    rest: Tensor,  # (B, N, 3) points before skinning
    jacobian: Tensor,  # (B, N, 3, 3) theirs
    weights: Tensor,  # (N, J)
    weights_jacobian: Tensor,  # (N, J, 3)
    transforms: Tensor,  # (B, J, 3, 4)
) -> Tensor:
    """The Jacobian (B, N, 3, 3) of skinned points (Eq. 9): bones turn it, and weights that change over space shear it."""
    batch = len(transforms)
    linear = (weights @ transforms[..., :3].flatten(2)).view(batch, -1, 3, 3)
    shear = (weights_jacobian.transpose(1, 2) @ transforms.flatten(2)[:, None]).view(batch, -1, 3, 3, 4)
    # shear[b, n, d] = Σ_j ∂w_j/∂x_d T_j, a 3×4 matrix a direction: applied to the point, it gives a column.
    columns = (shear[..., :3] * rest[:, :, None, None]).sum(-1) + shear[..., 3]
    return linear @ jacobian + columns.transpose(-1, -2)


def carry_normals(
    normals: Tensor,  # (N, 3) or (B, N, 3)
    jacobian: Tensor,  # (B, N, 3, 3)
) -> Tensor:
    """Unit normals (B, N, 3) = normalise(J⁻ᵀ n), by cofactors: J⁻ᵀ is the cofactor matrix over the determinant."""
    x, y, z = jacobian.unbind(-1)
    carried = (
        normals[..., :1] * torch.linalg.cross(y, z)
        + normals[..., 1:2] * torch.linalg.cross(z, x)
        + normals[..., 2:] * torch.linalg.cross(x, y)
    )
    turned = torch.sign((x * torch.linalg.cross(y, z)).sum(-1, keepdim=True))  # folded space keeps outside outside
    return torch.nn.functional.normalize(carried * torch.where(turned < 0, -1.0, 1.0), dim=-1)


def softmax_jacobian(
    weights: Tensor,  # (N, J) after the softmax
    logits_jacobian: Tensor,  # (N, J, 3)
) -> Tensor:
    """The Jacobian (N, J, 3) of a softmax, from that of its logits."""
    return weights[..., None] * (logits_jacobian - (weights[..., None] * logits_jacobian).sum(1, keepdim=True))
