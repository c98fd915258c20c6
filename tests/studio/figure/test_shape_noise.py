"""Shape noise is the same for the same seed, smooth, on the head alone, and orthogonal to the rig's identity axes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pegasus_ray.rig.model import Pose, interpolate_on_surface
from pegasus_ray.studio.figure.assemble import Figure
from pegasus_ray.studio.figure.shape_noise import shape_noise
from pegasus_ray.studio.identity import studio_rig
from pegasus_ray.studio.motion import pose_stills
from pegasus_ray.studio.sampling import SHAPE_NOISE_RANGE, sample_person

STRENGTH = 0.0012


def test_a_seed_is_a_shape() -> None:
    rig = studio_rig()
    assert np.array_equal(shape_noise(3, STRENGTH, rig), shape_noise(3, STRENGTH, rig))
    assert np.abs(shape_noise(3, STRENGTH, rig) - shape_noise(4, STRENGTH, rig)).max() > STRENGTH
    assert not shape_noise(3, 0.0, rig).any()


@pytest.mark.parametrize("seed", [1, 2])
def test_no_identity_axis_expresses_any_of_it(seed: int) -> None:
    """The best fit of all axes at once explains nothing; on the face's front alone, very little."""
    rig = studio_rig()
    noise = shape_noise(seed, STRENGTH, rig)
    front = rig.template.numpy()[:, 2] > -0.03
    for where, most in ((np.ones(len(noise), bool), 1e-6), (front, 0.15)):
        axes = rig.shape_basis.numpy()[:, where].reshape(len(rig.shape_names), -1).astype(np.float64)
        wanted = noise[where].ravel().astype(np.float64)
        best = axes.T @ np.linalg.lstsq(axes.T, wanted, rcond=None)[0]
        assert ((wanted - best) ** 2).sum() > (1 - most) * (wanted**2).sum()


def test_it_is_as_strong_as_said_smooth_and_not_on_the_torso() -> None:
    rig = studio_rig()
    noise, faces, places = shape_noise(5, STRENGTH, rig), rig.faces.numpy(), rig.template.numpy()
    on_face = (places[:, 2] > -0.02) & (np.abs(places[:, 1] + 0.03) < 0.08)
    assert 0.7 * STRENGTH < np.sqrt((noise[on_face] ** 2).sum(1).mean()) < 1.5 * STRENGTH
    length = np.linalg.norm(places[faces[:, 0]] - places[faces[:, 1]], axis=1)
    change = np.linalg.norm(noise[faces[:, 0]] - noise[faces[:, 1]], axis=1)
    assert np.quantile(change[length > 1e-4] / length[length > 1e-4], 0.99) < 0.4
    torso = rig.skin_weights.numpy()[:, rig.joint_names.index("root")] > 0.999
    assert torso.any()
    assert np.abs(noise[torso]).max() < 1e-6


def test_the_figure_and_its_hair_carry_it() -> None:
    """A sampled person's mesh differs from the rig's by the noise, and so do the places that hair is rooted in."""
    who = sample_person(5)
    assert SHAPE_NOISE_RANGE[0] <= who.noise <= SHAPE_NOISE_RANGE[1]
    figure, rig = Figure.of(who, detail=0.05), studio_rig()
    motion = pose_stills([{}], [(0, 0, 0)])
    seen = figure.posed(motion.expression, Pose.still(motion.head, motion.torso)).vertices[: len(rig.template)]
    plain = Figure.of(sample_person(5, noise=0.0), detail=0.05)
    bare = plain.posed(motion.expression, Pose.still(motion.head, motion.torso)).vertices[: len(rig.template)]
    marks = rig.landmarks
    moved = [
        interpolate_on_surface(torch.from_numpy(v), rig.faces, marks.triangles, marks.barycentric) for v in (seen, bare)
    ]
    assert 0.5 * who.noise < float((moved[0] - moved[1]).norm(dim=1)[marks.weights > 0].square().mean().sqrt())
    roots, others = figure.neutral[len(rig.template) :], plain.neutral[len(rig.template) :]
    assert np.abs(roots - others).max() > 0.2 * who.noise
