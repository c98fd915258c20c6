"""PSNR and SSIM of pictures for which they are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pegasus_ray.render.metrics import SIGMA_PIXELS, WINDOW_PIXELS, psnr, ssim, ssim_map


def noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_constant_difference() -> None:
    image = torch.full((8, 8, 3), 0.25)
    assert float(psnr(image, image + 0.1)) == pytest.approx(20, abs=1e-4)
    assert torch.isinf(psnr(image, image))


def test_psnr_sees_only_the_mask() -> None:
    image, other = torch.zeros(8, 8, 3), torch.zeros(8, 8, 3)
    other[:4] = 0.01
    other[4:] = 1
    mask = torch.zeros(8, 8)
    mask[:4] = 1
    assert float(psnr(image, other, mask)) == pytest.approx(40, abs=1e-3)
    assert torch.isnan(psnr(image, other, torch.zeros(8, 8)))


def test_ssim_of_equal_and_of_constant_pictures() -> None:
    """Without variance the structure term is 1 and only the means' term is left."""
    image = noise(0, 2, 3, 20, 16)
    assert float(ssim(image, image)) == pytest.approx(1, abs=1e-5)
    a, b, c1 = 0.2, 0.7, 0.01**2
    constant = ssim(torch.full((1, 1, 15, 15), a), torch.full((1, 1, 15, 15), b))
    assert float(constant) == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-4)


def test_ssim_map_is_the_formula_with_opencvs_blur() -> None:
    a, b = noise(1, 1, 3, 40, 30), noise(2, 1, 3, 40, 30)

    def blur(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (WINDOW_PIXELS, WINDOW_PIXELS), SIGMA_PIXELS)

    x, y = (t[0].permute(1, 2, 0).double().numpy() for t in (a, b))
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    wanted = ((2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean(axis=-1)
    inside = slice(WINDOW_PIXELS // 2, -(WINDOW_PIXELS // 2))
    assert np.allclose(ssim_map(a, b)[0].numpy()[inside, inside], wanted[inside, inside], atol=1e-4)


def test_ssim_sees_only_the_mask_and_has_gradients() -> None:
    a = noise(3, 1, 3, 24, 24)
    b = a.clone()
    b[..., 12:] = noise(4, 1, 3, 24, 12)
    mask = torch.zeros(1, 24, 24)
    mask[..., :6] = 1  # further from the change than the window reaches
    assert float(ssim(a, b, mask)) == pytest.approx(1, abs=1e-5)
    b.requires_grad_()
    (gradient,) = torch.autograd.grad(ssim(a, b), b)
    assert torch.isfinite(gradient).all()
    assert gradient[..., 12:].abs().sum() > 0
