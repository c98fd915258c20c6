"""The rasteriser: the fast backend equals the plain one, its gradients are exact, and runs repeat bit for bit.

Legend: B frames, N points, C features, K points a pixel, S side in pixels.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pegasus_ray.render import warp_backend
from pegasus_ray.render.rasterize import NEAR_METRES, Discs, Raster, rasterize
from pegasus_ray.schemas.errors import PegasusError, Reason


@dataclass
class Scene:
    pixels: Tensor
    depth: Tensor
    radii: Tensor
    opacity: Tensor
    features: Tensor
    size: int
    per_pixel: int

    def discs(self) -> Discs:
        return Discs(pixels=self.pixels, depth=self.depth, radii=self.radii, opacity=self.opacity)

    def leaves(self) -> list[Tensor]:
        return [self.pixels, self.radii, self.opacity, self.features]

    def to(self, to: torch.device | torch.dtype) -> Scene:
        tensors = (self.pixels, self.depth, self.radii, self.opacity, self.features)
        return Scene(*(tensor.to(to) for tensor in tensors), self.size, self.per_pixel)

    def rasterize(self, backend: str) -> Raster:
        return rasterize(self.discs(), self.features, size=self.size, per_pixel=self.per_pixel, backend=backend)

    def gradients(self, backend: str) -> tuple[Tensor, ...]:
        """Gradients of a random weighted sum of features and alpha to pixels, radii, opacity and features."""
        leaves = [leaf.detach().requires_grad_() for leaf in self.leaves()]
        scene = Scene(leaves[0], self.depth, *leaves[1:], self.size, self.per_pixel)
        raster = scene.rasterize(backend)
        generator = torch.Generator().manual_seed(5)
        weights = torch.randn(raster.features.shape, generator=generator).to(self.pixels)
        alpha_weights = torch.randn(raster.alpha.shape, generator=generator).to(self.pixels)
        return torch.autograd.grad((raster.features * weights).sum() + (raster.alpha * alpha_weights).sum(), leaves)


def make_scene(
    *,
    frames: int = 2,
    points: int = 300,
    width: int = 5,
    per_pixel: int = 6,
    size: int = 24,
    shared: bool = True,
    depths: int = 0,
    seed: int = 0,
) -> Scene:
    """Random discs; a tenth each is behind the camera, without a radius, or opaque; some lie off the picture.

    With `depths` there are only so many different depths, so that many points tie.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    depth = 0.5 + uniform(frames, points)
    if depths:
        depth = torch.floor(depth * depths) / depths + 0.1
    depth[uniform(frames, points) < 0.1] *= -1
    radii = 0.3 + 4 * uniform(frames, points)
    radii[uniform(frames, points) < 0.1] = 0
    lead = () if shared else (frames,)
    opacity = uniform(*lead, points)
    opacity[uniform(*lead, points) < 0.1] = 1
    return Scene(
        pixels=(uniform(frames, points, 2) * 1.4 - 0.2) * size,
        depth=depth,
        radii=radii,
        opacity=opacity,
        features=uniform(*lead, points, width) * 2 - 1,
        size=size,
        per_pixel=per_pixel,
    )


def assert_equal(scene: Scene, backend: str, reference: str = "torch") -> None:
    """Indices exactly, features to 1e-5, gradients to 1e-4 relative."""
    got, wanted = scene.rasterize(backend), scene.rasterize(reference)
    assert torch.equal(got.indices, wanted.indices)
    assert (wanted.indices >= 0).any()
    assert torch.allclose(got.features, wanted.features, atol=1e-5, rtol=0)
    assert torch.allclose(got.alpha, wanted.alpha, atol=1e-5, rtol=0)
    for name, mine, theirs in zip(
        ("pixels", "radii", "opacity", "features"), scene.gradients(backend), scene.gradients(reference), strict=True
    ):
        assert theirs.norm() > 0
        assert (mine - theirs).norm() <= 1e-4 * theirs.norm(), name


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    frames=st.integers(1, 3),
    points=st.integers(40, 200),
    width=st.sampled_from([1, 3, 14]),
    per_pixel=st.integers(1, 12),
    size=st.integers(3, 20),
    shared=st.booleans(),
    depths=st.sampled_from([0, 3]),
    seed=st.integers(0, 1000),
)
def test_warp_equals_torch(
    frames: int, points: int, width: int, per_pixel: int, size: int, shared: bool, depths: int, seed: int
) -> None:
    assert_equal(
        make_scene(
            frames=frames,
            points=points,
            width=width,
            per_pixel=per_pixel,
            size=size,
            shared=shared,
            depths=depths,
            seed=seed,
        ),
        "warp",
    )


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing_but_the_order_of_sums(threads: int) -> None:
    scene = make_scene(frames=2, size=7)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert_equal(scene, "warp")
        once, twice = scene.gradients("warp"), scene.gradients("warp")
        assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
        first, second = scene.rasterize("warp"), scene.rasterize("warp")
        assert torch.equal(first.features, second.features)
    finally:
        torch.set_num_threads(before)


def test_the_kernels_for_cuda_select_the_points_that_the_kernel_for_a_cpu_selects() -> None:
    """The three kernels for CUDA run on a CPU too, so that this needs no GPU."""
    scene = make_scene(points=600, depths=5)
    wanted = scene.rasterize("warp").indices
    discs = warp_backend.pack(scene.discs())
    order, drawn = warp_backend.sort_by_depth(discs, scene.depth)
    filled = torch.zeros(2, scene.size**2, dtype=torch.int32)
    indices = torch.full((2, scene.size**2, scene.per_pixel), -1, dtype=torch.int32)
    warp_backend.find_nearest_points(discs, order, drawn, filled, indices, scene.size)
    assert torch.equal(indices.view_as(wanted), wanted)
    assert torch.equal(filled, (indices >= 0).sum(dim=-1))


def test_gradients_are_those_of_the_function() -> None:
    """By finite differences in 64 bits; K is large and every disc covers every pixel, so no point enters or leaves a list."""
    scene = make_scene(frames=2, points=6, width=2, per_pixel=6, size=3).to(torch.float64)
    scene.radii = scene.radii.abs() + 5
    scene.depth = scene.depth.abs()

    def function(*leaves: Tensor) -> tuple[Tensor, Tensor]:
        raster = Scene(leaves[0], scene.depth, *leaves[1:], scene.size, scene.per_pixel).rasterize("torch")
        return raster.features, raster.alpha

    assert torch.autograd.gradcheck(function, [leaf.requires_grad_() for leaf in scene.leaves()])


def test_a_disc_by_hand() -> None:
    """Two discs at one place: the nearer has alpha o·(1 − d²/r²), the farther is weighted by what the nearer lets through."""
    scene = Scene(
        pixels=torch.full((1, 2, 2), 2.5),
        depth=torch.tensor([[2.0, 1.0]]),
        radii=torch.full((1, 2), 2.0),
        opacity=torch.tensor([1.0, 0.5]),
        features=torch.eye(2),
        size=5,
        per_pixel=2,
    )
    for backend in ("torch", "warp"):
        raster = scene.rasterize(backend)
        assert raster.indices[0, 2, 2].tolist() == [1, 0]
        assert raster.features[0, 2, 2].tolist() == [0.5, 0.5]
        assert raster.alpha[0, 2, 2] == 1
        a, b = 0.5 * 0.75, 0.75  # one pixel to the right: d² / r² = 1 / 4
        assert raster.features[0, 2, 3].tolist() == pytest.approx([b * (1 - a), a])
        assert raster.alpha[0, 2, 3] == pytest.approx(1 - (1 - a) * (1 - b))
        assert raster.indices[0, 2, 4].tolist() == [-1, -1]  # d = r: the rim does not cover
        assert raster.alpha[0, 2, 4] == 0


def test_opaque_points_hide_what_is_behind_and_keep_gradients_finite() -> None:
    """An opaque disc's centre has a = 1, where 1 / (1 − a) does not exist."""
    scene = make_scene(points=30, size=6)
    scene.pixels = scene.pixels.floor() + 0.5
    scene.opacity = torch.ones_like(scene.opacity)
    assert (scene.rasterize("warp").alpha == 1).any()
    assert_equal(scene, "warp")
    assert all(torch.isfinite(gradient).all() for gradient in scene.gradients("warp"))


@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_of_points_at_one_depth_the_lower_index_is_nearer(backend: str) -> None:
    scene = make_scene(points=50, per_pixel=4)
    scene.depth = torch.ones_like(scene.depth)
    indices = scene.rasterize(backend).indices
    pairs = (indices[..., 1:] >= 0) & (indices[..., :-1] >= 0)
    assert pairs.any()
    assert (indices[..., 1:] > indices[..., :-1])[pairs].all()


@pytest.mark.parametrize("backend", ["torch", "warp"])
def test_points_that_are_not_drawn_have_no_effect(backend: str) -> None:
    """Behind the camera, at NEAR_METRES, without a radius, not a number: as if the points were not there."""
    scene = make_scene(points=60)
    scene.depth[:, :10] = NEAR_METRES
    scene.radii[:, 10:20] = 0
    scene.pixels[:, 20:25] = torch.nan
    scene.depth[:, 25:30] = torch.nan
    scene.radii[:, 30:35] = torch.inf
    raster = scene.rasterize(backend)
    shown = set(raster.indices.unique().tolist())
    assert shown & set(range(35, 60))
    assert not shown & set(range(35))
    assert torch.isfinite(raster.features).all()


@pytest.mark.parametrize("backend", ["torch", "warp"])
@pytest.mark.parametrize("points", [0, 3])
def test_an_empty_picture_has_no_alpha_and_no_gradient(backend: str, points: int) -> None:
    scene = make_scene(points=points)
    scene.depth = -scene.depth.abs()
    raster = scene.rasterize(backend)
    assert raster.features.shape == (2, 24, 24, 5)
    assert not raster.features.any()
    assert not raster.alpha.any()
    assert (raster.indices == -1).all()
    assert not any(gradient.any() for gradient in scene.gradients(backend))


@pytest.mark.parametrize(
    "wrong",
    [
        {"backend": "opengl"},
        {"size": 0},
        {"depth": torch.ones(2, 3)},
        {"opacity": torch.ones(3, 4)},
        {"features": torch.ones(4, 0)},
    ],
)
def test_a_wrong_call_says_what_is_wrong(wrong: dict[str, object]) -> None:
    scene = make_scene(points=4)
    given = {name: getattr(scene, name) for name in ("pixels", "depth", "radii", "opacity", "features", "size")} | wrong
    discs = Discs(**{name: given.pop(name) for name in ("pixels", "depth", "radii", "opacity")})
    with pytest.raises(PegasusError) as caught:
        rasterize(discs, **given)
    assert caught.value.reason is Reason.BAD_CONFIG


def test_importing_the_module_does_not_import_warp_and_starting_warp_prints_nothing() -> None:
    code = (
        "import sys, torch; from pegasus_ray.render.rasterize import Discs, rasterize; assert 'warp' not in sys.modules;"
        "o = torch.ones(1, 1); discs = Discs(pixels=torch.ones(1, 1, 2), depth=o, radii=o, opacity=o);"
        "rasterize(discs, o[..., None], size=2);"
        "assert 'warp' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    assert done.stderr == ""


@pytest.mark.gpu
@pytest.mark.parametrize("shared", [True, False])
def test_cuda_equals_torch_on_a_cpu(shared: bool) -> None:
    scene = make_scene(frames=3, points=5000, size=96, depths=7, shared=shared, width=14, per_pixel=10)
    cuda = scene.to(torch.device("cuda"))
    got, wanted = cuda.rasterize("warp"), scene.rasterize("torch")
    assert torch.equal(got.indices.cpu(), wanted.indices)
    assert torch.allclose(got.features.cpu(), wanted.features, atol=1e-5, rtol=0)
    for mine, theirs in zip(cuda.gradients("warp"), scene.gradients("torch"), strict=True):
        assert (mine.cpu() - theirs).norm() <= 1e-4 * theirs.norm()
