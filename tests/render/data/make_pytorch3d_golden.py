"""Make pytorch3d_golden.npz: what PyTorch3D itself gives for a small scene, with gradients.

Run from the repository's root in the environment of the extra [pytorch3d]: python tests/render/data/make_pytorch3d_golden.py
The inputs are part of the file, since torch promises no equal random numbers between its versions.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from pegasus_ray.render.rasterize import Discs, rasterize  # noqa: E402

FRAMES, POINTS, WIDTH, SIZE, PER_PIXEL = 2, 200, 3, 32, 8


def main() -> None:
    generator = torch.Generator().manual_seed(11)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    inputs = {
        "pixels": (uniform(FRAMES, POINTS, 2) * 1.2 - 0.1) * SIZE,
        "depth": uniform(FRAMES, POINTS) * 1.2 - 0.2,  # some behind the camera
        "radii": 0.5 + 4 * uniform(FRAMES, POINTS),
        "opacity": uniform(POINTS) * 0.98,
        "features": uniform(POINTS, WIDTH),
    }
    leaves = {name: tensor.requires_grad_() for name, tensor in inputs.items() if name != "depth"}
    discs = Discs(**{name: tensor for name, tensor in inputs.items() if name != "features"})
    raster = rasterize(discs, inputs["features"], size=SIZE, per_pixel=PER_PIXEL, backend="pytorch3d")
    weights = {"features": torch.randn(raster.features.shape, generator=generator)}
    weights["alpha"] = torch.randn(raster.alpha.shape, generator=generator)
    loss = (raster.features * weights["features"]).sum() + (raster.alpha * weights["alpha"]).sum()
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    arrays = {
        **{f"input_{name}": tensor for name, tensor in inputs.items()},
        **{f"weight_{name}": tensor for name, tensor in weights.items()},
        **{f"gradient_{name}": gradient for name, gradient in zip(leaves, gradients, strict=True)},
        "features": raster.features,
        "alpha": raster.alpha,
        "indices": raster.indices.to(torch.int16),
    }
    numbers = {name: tensor.detach().numpy() for name, tensor in arrays.items()}
    np.savez_compressed(Path(__file__).with_name("pytorch3d_golden.npz"), size=SIZE, per_pixel=PER_PIXEL, **numbers)


if __name__ == "__main__":
    main()
