"""Our rasterisers give what PyTorch3D gives: as a committed file holds it, and itself where the extra is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from pegasus_ray.render.rasterize import Discs, rasterize
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.render.test_rasterize import assert_equal, make_scene

GOLDEN = Path(__file__).parent / "data" / "pytorch3d_golden.npz"
LEAVES = ("pixels", "radii", "opacity", "features")
INSTALLED = find_spec("pytorch3d") is not None


@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_equals_pytorch3d_golden(backend: str) -> None:
    with np.load(GOLDEN) as file:
        golden = {name: torch.from_numpy(file[name]) for name in file.files}
    inputs = {name.removeprefix("input_"): golden[name] for name in golden if name.startswith("input_")}
    for name in LEAVES:
        inputs[name].requires_grad_()
    discs = Discs(**{name: inputs[name] for name in ("pixels", "depth", "radii", "opacity")})
    size, per_pixel = int(golden["size"]), int(golden["per_pixel"])
    raster = rasterize(discs, inputs["features"], size=size, per_pixel=per_pixel, backend=backend)
    assert torch.equal(raster.indices, golden["indices"].int())
    assert (golden["indices"][..., -1] >= 0).any(), "some pixels should be full"
    assert (golden["indices"][..., 0] < 0).any(), "some pixels should be empty"
    assert torch.allclose(raster.features, golden["features"], atol=1e-5, rtol=0)
    assert torch.allclose(raster.alpha, golden["alpha"], atol=1e-5, rtol=0)
    loss = (raster.features * golden["weight_features"]).sum() + (raster.alpha * golden["weight_alpha"]).sum()
    for name, mine in zip(LEAVES, torch.autograd.grad(loss, [inputs[name] for name in LEAVES]), strict=True):
        wanted = golden[f"gradient_{name}"]
        assert wanted.norm() > 0
        assert (mine - wanted).norm() <= 1e-4 * wanted.norm(), name


@pytest.mark.skipif(not INSTALLED, reason="the extra [pytorch3d] is not installed")
@pytest.mark.parametrize("shared", [True, False])
def test_the_backend_equals_torch(shared: bool) -> None:
    scene = make_scene(shared=shared)
    scene.opacity = scene.opacity * 0.98  # PyTorch3D's gradient has 1 / (1 − a)
    assert_equal(scene, "pytorch3d")


@pytest.mark.skipif(INSTALLED, reason="the extra [pytorch3d] is installed")
def test_a_missing_package_says_what_to_install() -> None:
    scene = make_scene(points=3)
    with pytest.raises(PegasusError, match=r"extra \[pytorch3d\]") as caught:
        scene.rasterize("pytorch3d")
    assert caught.value.reason is Reason.BAD_CONFIG
