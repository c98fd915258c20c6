"""A PLY file holds every point at its place, as another program reads it."""

from __future__ import annotations

import io

import numpy as np
import trimesh

from pegasus_ray.rig.load import load_rig
from pegasus_ray.viewer.export import PROPERTIES, points_as_ply
from tests.painted import painted_avatar


def test_points_are_found_again_by_another_reader() -> None:
    rig, avatar = load_rig(), painted_avatar()
    points = avatar.canonical(avatar.anchors(rig))
    content = points_as_ply(points, rig)
    head, body = content.split(b"end_header\n", 1)
    assert b"binary_little_endian" in head
    assert len(body) == len(avatar) * sum(np.dtype(kind).itemsize for _, kind, _ in PROPERTIES)
    read = trimesh.load(io.BytesIO(content), file_type="ply")
    np.testing.assert_allclose(np.asarray(read.vertices), points.positions.numpy(), atol=1e-5)
    assert np.asarray(read.colors).shape[0] == len(avatar)
    rows = np.frombuffer(body, dtype=[(name, kind) for name, kind, _ in PROPERTIES])
    np.testing.assert_allclose(rows["radius"], points.radii.numpy(), rtol=1e-6)
    lengths = np.sqrt(rows["nx"] ** 2 + rows["ny"] ** 2 + rows["nz"] ** 2)
    np.testing.assert_allclose(lengths, 1, atol=1e-4)
