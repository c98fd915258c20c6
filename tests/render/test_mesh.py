"""Ray casting agrees with geometry: a hit lies on its ray, in its triangle, and on the near side."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.schemas.errors import PegasusError, Reason


def sphere() -> tuple[np.ndarray, np.ndarray]:
    """Of radius 10 cm, half a metre in front of the origin."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    return (mesh.vertices + np.array([0, 0, 0.5])).astype(np.float32), mesh.faces.astype(np.int64)


def test_hits_lie_on_their_rays_in_their_triangles_on_the_near_side() -> None:
    vertices, faces = sphere()
    directions = np.ones((900, 3))
    directions[:, :2] = np.random.default_rng(0).uniform(-0.3, 0.3, (900, 2))
    triangle, barycentric, distance = MeshTracer(vertices, faces).first_along(np.zeros((900, 3)), directions)
    hit = triangle >= 0
    assert 0.1 < hit.mean() < 0.9
    assert np.allclose(barycentric[hit].sum(axis=-1), 1, atol=1e-6)
    assert barycentric.min() >= -1e-5
    in_triangle = (vertices[faces[triangle[hit]]] * barycentric[hit][..., None]).sum(axis=1)
    assert np.allclose(in_triangle, directions[hit] * distance[hit][:, None], atol=1e-5)
    assert (distance[hit] < 0.5).all()
    assert not barycentric[~hit].any()
    assert np.isinf(distance[~hit]).all()


def test_occlusion_reaches_as_far_as_asked() -> None:
    tracer = MeshTracer(*sphere())
    origins = np.zeros((3, 3))
    directions = np.array([[0, 0, 1.0], [0, 0, 1.0], [0, 1.0, 0]])
    assert tracer.occluded(origins, directions).tolist() == [True, True, False]
    assert tracer.occluded(origins, directions, far=np.array([0.39, 0.41, 9])).tolist() == [False, True, False]
    assert tracer.occluded(origins, 2 * directions, far=0.21).tolist() == [True, True, False]


def test_distances_are_in_lengths_of_the_direction() -> None:
    vertices, faces = sphere()
    tracer = MeshTracer(vertices, faces)
    origins = np.array([[0.3, 0, 0.5], [0, 0, 0.5], [0.3, 0, 0.5]])
    directions = np.array([[-2.0, 0, 0], [0, 3.0, 0], [1.0, 0, 0]])
    triangle, barycentric, distance = tracer.first_along(origins, directions)
    assert (triangle >= 0).tolist() == [True, True, False]
    assert distance[:2] * [2, 3] == pytest.approx([0.2, 0.1], abs=2e-3)  # the second ray starts inside the sphere
    met = (vertices[faces[triangle[:2]]] * barycentric[:2, :, None]).sum(axis=1)
    assert met == pytest.approx(origins[:2] + distance[:2, None] * directions[:2], abs=1e-5)


def test_nothing_is_hit_in_an_empty_mesh() -> None:
    tracer = MeshTracer(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64))
    assert (tracer.first_along(np.zeros((2, 3)), np.ones((2, 3)))[0] == -1).all()
    assert not tracer.occluded(np.zeros((2, 3)), np.ones((2, 3))).any()


def test_faces_of_missing_vertices_are_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        MeshTracer(np.zeros((3, 3)), np.array([[0, 1, 3]]))
    assert caught.value.reason is Reason.BAD_CONFIG
