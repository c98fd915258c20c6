"""Shading as a network of the deformed normal and the code (paper §3, c = s ∘ a).

Legend: B frames, N points, Z length of the code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pegasus_ray.avatar.fields.mlp import linear_layer, linears


class ShadingNet(nn.Module):
    """Maps unit normals and a code to shading, 0–2 per channel; it is 1 everywhere before training."""

    def __init__(self, code: int, *, width: int = 512, depth: int = 2) -> None:
        super().__init__()
        self.first = nn.Linear(3, width)
        self.coded = nn.Linear(code, width, bias=False)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth - 1))
        self.output = nn.Linear(width, 3)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self,
        normals: Tensor,  # (B, N, 3) unit length, camera space
        code: Tensor,  # (Z,)
    ) -> Tensor:
        """Shading, (B, N, 3)."""
        hidden = torch.relu(linear_layer(normals, self.first.weight, self.first.bias + self.coded(code)))
        for layer in linears(self.layers):
            hidden = torch.relu(linear_layer(hidden, layer.weight, layer.bias))
        return 2 * torch.sigmoid(self.output(hidden))
