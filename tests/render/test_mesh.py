"""Ray casting agrees with the camera: what is hit lies where the camera projects it, and in its triangle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from pegasus_ray.render.camera import Camera
from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.schemas.errors import PegasusError, Reason

CAMERA = Camera(focal=torch.tensor([2.0]), centre=torch.tensor([[0.45, 0.55]]))


def sphere() -> tuple[np.ndarray, np.ndarray]:
    """Of radius 10 cm, half a metre in front of the camera."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    return (mesh.vertices + np.array([0, 0, 0.5])).astype(np.float32), mesh.faces.astype(np.int64)


@pytest.mark.parametrize("supersample", [1, 3])
def test_hits_project_back_to_their_pixels(supersample: int) -> None:
    vertices, faces = sphere()
    hits = MeshTracer(vertices, faces).first_hits(CAMERA, 32, supersample)
    side = 32 * supersample
    assert hits.triangle.shape == (side, side)
    assert 0.1 < hits.hit.mean() < 0.9
    rows, columns = np.nonzero(hits.hit)
    pixels, depth = CAMERA.project(torch.from_numpy(hits.position[hits.hit])[None], side)
    assert np.allclose(pixels[0].numpy(), np.stack([columns, rows], axis=-1) + 0.5, atol=1e-3)
    assert np.allclose(depth[0].numpy(), hits.depth[hits.hit], atol=1e-6)


def test_hits_lie_in_their_triangles_on_the_near_side() -> None:
    vertices, faces = sphere()
    hits = MeshTracer(vertices, faces).first_hits(CAMERA, 48)
    assert np.allclose(hits.barycentric[hits.hit].sum(axis=-1), 1, atol=1e-6)
    assert hits.barycentric.min() >= -1e-5
    assert np.allclose(hits.interpolate(vertices, faces), hits.position, atol=1e-5)
    assert (hits.depth[hits.hit] < 0.5).all()
    assert not hits.barycentric[~hits.hit].any()
    assert np.isinf(hits.depth[~hits.hit]).all()


def test_the_picture_is_x_right_y_down() -> None:
    """A triangle right of and below the axis is seen in the right lower quarter, and only there."""
    vertices = np.array([[0.01, 0.01, 1], [0.2, 0.01, 1], [0.01, 0.2, 1]])
    camera = Camera(focal=torch.tensor([2.0]), centre=torch.tensor([[0.5, 0.5]]))
    hit = MeshTracer(vertices, np.array([[0, 1, 2]])).first_hits(camera, 20).hit
    assert hit[10:, 10:].any()
    assert not hit[:10].any()
    assert not hit[:, :10].any()


def test_occlusion_reaches_as_far_as_asked() -> None:
    tracer = MeshTracer(*sphere())
    origins = np.zeros((3, 3))
    directions = np.array([[0, 0, 1.0], [0, 0, 1.0], [0, 1.0, 0]])
    assert tracer.occluded(origins, directions).tolist() == [True, True, False]
    assert tracer.occluded(origins, directions, far=np.array([0.39, 0.41, 9])).tolist() == [False, True, False]
    assert tracer.occluded(origins, 2 * directions, far=0.21).tolist() == [True, True, False]


def test_single_rays_meet_what_the_camera_sees() -> None:
    """Cast at any length of direction from any origin, a ray's distance leads to the point that was hit."""
    vertices, faces = sphere()
    tracer = MeshTracer(vertices, faces)
    origins = np.array([[0.3, 0, 0.5], [0, 0, 0.5], [0.3, 0, 0.5]])
    directions = np.array([[-2.0, 0, 0], [0, 3.0, 0], [1.0, 0, 0]])
    triangle, barycentric, distance = tracer.first_along(origins, directions)
    assert (triangle >= 0).tolist() == [True, True, False]
    assert distance[:2] * [2, 3] == pytest.approx([0.2, 0.1], abs=2e-3)  # the second ray starts inside the sphere
    reached = (barycentric[:2, :, None] * vertices[faces[triangle[:2]]]).sum(axis=1)
    assert np.allclose(reached, origins[:2] + distance[:2, None] * directions[:2], atol=1e-5)
    assert np.isinf(distance[2])
    assert not barycentric[2].any()


def test_nothing_is_hit_in_an_empty_mesh() -> None:
    tracer = MeshTracer(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    assert not tracer.first_hits(CAMERA, 4).hit.any()
    assert not tracer.occluded(np.zeros((2, 3)), np.ones((2, 3))).any()


def test_faces_of_missing_vertices_are_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        MeshTracer(np.zeros((3, 3)), np.array([[0, 1, 3]]))
    assert caught.value.reason is Reason.BAD_CONFIG
