"""Normals of deformed points (paper Eq. 3): the canonical normal times the inverse transpose of the deformation's Jacobian.

The Jacobian is assembled in closed form from the networks' derivatives. Those depend on the code alone and are shared by all
frames, so a frame costs one small matrix product per point.

Legend: B frames, N points, S signals, J joints, H activations.
"""

from __future__ import annotations

import torch
from torch import Tensor


def rest_jacobian(
    motionless: Tensor,  # (N, 3, 3) of the rest position of a point without any motion
    hidden: Tensor,  # (3, N, H) of the activations that the motion bases are linear in, with the direction first
    heads: Tensor,  # (S, 3, H) that linear map
    signals: Tensor,  # (B, S)
) -> Tensor:
    """The Jacobian (B, N, 3, 3) of points moved by their bases, before skinning (Eq. 8).

    The signals are multiplied with the linear map first, so that the Jacobians of the S bases are never formed.
    """
    weighed = (signals @ heads.flatten(1)).view(-1, hidden.shape[-1])  # (B · 3, H)
    moved = (hidden.flatten(0, 1) @ weighed.T).view(3, len(motionless), len(signals), 3)
    return motionless + moved.permute(2, 1, 3, 0)


def skinning_jacobian(
    rest: Tensor,  # (B, N, 3) points before skinning
    jacobian: Tensor,  # (B, N, 3, 3) of these points
    weights: Tensor,  # (N, J)
    weights_jacobian: Tensor,  # (N, J, 3)
    transforms: Tensor,  # (B, J, 3, 4)
) -> Tensor:
    """The Jacobian (B, N, 3, 3) of skinned points (Eq. 9): bones rotate it, and weights that vary over space shear it."""
    batch = len(transforms)
    linear = (weights @ transforms[..., :3].flatten(2)).view(batch, -1, 3, 3)
    shear = (weights_jacobian.transpose(1, 2) @ transforms.flatten(2)[:, None]).view(batch, -1, 3, 3, 4)
    # shear[b, n, d] = Σ_j ∂w_j/∂x_d T_j, a 3×4 matrix per direction d; applied to the point it gives column d.
    columns = (shear[..., :3] * rest[:, :, None, None]).sum(-1) + shear[..., 3]
    return linear @ jacobian + columns.transpose(-1, -2)


def transform_normals(
    normals: Tensor,  # (N, 3) or (B, N, 3)
    jacobian: Tensor,  # (B, N, 3, 3)
) -> Tensor:
    """Unit normals (B, N, 3) = normalise(J⁻ᵀ n). J⁻ᵀ is the cofactor matrix over the determinant, so nothing is inverted.

    Where the deformation folds space over (negative determinant), the normal is flipped, so that it still points outward.
    """
    x, y, z = jacobian.unbind(-1)
    turned = (
        normals[..., :1] * torch.linalg.cross(y, z)
        + normals[..., 1:2] * torch.linalg.cross(z, x)
        + normals[..., 2:] * torch.linalg.cross(x, y)
    )
    orientation = torch.sign((x * torch.linalg.cross(y, z)).sum(-1, keepdim=True))
    return torch.nn.functional.normalize(turned * torch.where(orientation < 0, -1.0, 1.0), dim=-1)


def softmax_jacobian(
    weights: Tensor,  # (N, J) after the softmax
    logits_jacobian: Tensor,  # (N, J, 3)
) -> Tensor:
    """The Jacobian (N, J, 3) of a softmax, from that of its logits."""
    return weights[..., None] * (logits_jacobian - (weights[..., None] * logits_jacobian).sum(1, keepdim=True))
