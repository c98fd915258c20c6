"""A head with the arrays of a FLAME model: the open rig's own face, resampled to 5023 vertices and 9976 faces."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
import torch

from pegasus_ray.rig.closest import Surface
from pegasus_ray.rig.model import Rig, Tissue

Array = np.ndarray[Any, np.dtype[Any]]

VERTICES, FACES = 5023, 9976
KINTREE = np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.int64)


def random_model(seed: int = 0) -> dict[str, Array]:
    """Random arrays of the true shapes, to test the arithmetic alone."""
    source = np.random.default_rng(seed)
    weights = source.random((VERTICES, 5)) ** 4
    regressor = source.random((5, VERTICES)) ** 8
    return {
        "v_template": 0.1 * source.standard_normal((VERTICES, 3)),
        "f": source.integers(0, VERTICES, (FACES, 3)).astype(np.uint32),
        "shapedirs": 0.002 * source.standard_normal((VERTICES, 3, 400)),
        "posedirs": 0.002 * source.standard_normal((VERTICES, 3, 36)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": KINTREE,
    }


def head_model(rig: Rig, seed: int = 0) -> dict[str, Array]:
    """A face of another person than the template, in another size and place, with the open rig's axes and expressions."""
    source = np.random.default_rng(seed)
    vertices, faces, bound, barycentric = _resample(rig)

    def at(values: torch.Tensor) -> Array:
        """Of the open rig's vertices (V, C) at the head's (U, C)."""
        found: Array = (values.double().numpy()[rig.faces.numpy()[bound]] * barycentric[..., None]).sum(1)
        return found

    def basis(values: torch.Tensor) -> Array:
        return np.stack([at(field) for field in values], -1)  # (U, 3, axes)

    person = 0.3 * source.standard_normal(len(rig.shape_names))
    person[[name.startswith("macro/") for name in rig.shape_names]] = 0
    shape, expression = basis(rig.shape_basis), basis(rig.expression_basis)
    directions = np.zeros((VERTICES, 3, 400))
    directions[..., : shape.shape[-1]] = shape
    own = [name not in ("jawOpen",) and not name.startswith("eyeLook") for name in rig.expression_names]
    directions[..., 300 : 300 + sum(own)] = expression[..., own]
    six = at(rig.skin_weights)
    names = rig.joint_names
    weights = np.stack([six[:, names.index(name)] for name in ("root", "head", "jaw", "eye.L", "eye.R")], 1)
    weights[:, :2] += six[:, names.index("neck"), None] / 2
    places = (rig.joint_regressor @ rig.template).double().numpy()
    template = vertices + np.einsum("k,vck->vc", person, shape)
    regressor = np.zeros((5, VERTICES))
    for row, name in enumerate(("neck", "head", "jaw")):
        near = np.argsort(np.linalg.norm(vertices - places[names.index(name)], axis=1))[:64]
        system = np.concatenate([vertices[near].T, np.ones((1, 64))])
        target = np.append(places[names.index(name)], 1.0)
        regressor[row, near] = np.linalg.lstsq(system, target, rcond=None)[0]
    for row in (3, 4):
        regressor[row] = weights[:, row] > 0.99
    regressor /= regressor.sum(1, keepdims=True)
    smooth = np.sin(30 * vertices[:, :, None] + np.arange(36)) * 1e-3
    return {
        "v_template": 1.05 * template + np.array([0.01, -0.03, 0.02]),
        "f": faces.astype(np.uint32),
        "shapedirs": 1.05 * directions,
        "posedirs": smooth,
        "J_regressor": regressor,
        "weights": weights,
        "kintree_table": KINTREE,
    }


def _resample(rig: Rig) -> tuple[Array, Array, Array, Array]:
    """Vertices and faces of skin, lips and eyes above the chest, with edges split until both numbers are FLAME's.

    Returns vertices (U, 3), faces, and where on the open rig each vertex lies: face (U,) and barycentric (U, 3).
    """
    kept = torch.isin(rig.tissue, torch.tensor([Tissue.SKIN, Tissue.LIPS, Tissue.MOUTH]))
    kept &= rig.template[rig.faces][:, :, 1].mean(1) > -0.2
    kept |= rig.tissue == Tissue.EYE
    used, corners = np.unique(rig.faces[kept].numpy(), return_inverse=True)
    vertices = list(rig.template.double().numpy()[used])
    faces = [tuple(face) for face in corners.reshape(-1, 3).tolist()]
    faces += _ears(faces, FACES - len(faces) - 2 * (VERTICES - len(vertices)))
    while len(vertices) < VERTICES:
        faces = _split(vertices, faces, VERTICES - len(vertices))
    points, triangles = np.array(vertices), np.array(faces)
    assert points.shape == (VERTICES, 3) and triangles.shape == (FACES, 3)
    face, barycentric, distance = Surface(rig.template.double().numpy(), rig.faces.numpy(), kept.numpy()).nearest(
        points
    )
    assert np.sort(distance)[-10] < 1e-6 and distance.max() < 2e-3, "but for the few ears, all lie on it"
    return points, triangles, face, barycentric


def _edges(faces: list[tuple[int, ...]]) -> dict[tuple[int, int], list[int]]:
    owners: dict[tuple[int, int], list[int]] = {}
    for number, (a, b, c) in enumerate(faces):
        for edge in ((a, b), (b, c), (c, a)):
            owners.setdefault((min(edge), max(edge)), []).append(number)
    return owners


def _ears(faces: list[tuple[int, ...]], count: int) -> list[tuple[int, ...]]:
    """Triangles over pairs of boundary edges that share a vertex; each adds a face and no vertex."""
    edges, added, taken = _edges(faces), [], set()
    open_edges = [edge for edge, owners in edges.items() if len(owners) == 1]
    for a, b in open_edges:
        for c, d in open_edges:
            third = d if c == b else c if d == b else -1
            if len(added) < count and third not in (-1, a) and not {a, b, third} & taken:
                added.append((a, b, third))
                taken |= {a, b, third}
    assert len(added) == count
    return added


def _split(vertices: list[Array], faces: list[tuple[int, ...]], most: int) -> list[tuple[int, ...]]:
    """Split the longest inner edges, of which no two share a face, at their middle; each adds a vertex and two faces."""
    inner = {edge: owners for edge, owners in _edges(faces).items() if len(owners) == 2}
    longest = sorted(inner, key=lambda edge: -float(np.linalg.norm(vertices[edge[0]] - vertices[edge[1]])))
    done: set[int] = set()
    added: list[tuple[int, ...]] = []
    for a, b in longest[: 4 * most]:
        owners = inner[a, b]
        if most == 0 or done & set(owners):
            continue
        vertices.append((vertices[a] + vertices[b]) / 2)
        middle = len(vertices) - 1
        for owner in owners:
            added.append(tuple(middle if corner == a else corner for corner in faces[owner]))
            added.append(tuple(middle if corner == b else corner for corner in faces[owner]))
        done |= set(owners)
        most -= 1
    return [face for number, face in enumerate(faces) if number not in done] + added


def write_pickle(model: dict[str, Array], path: Path) -> Path:
    """A pickle like the licensed ones: protocol 2, chumpy arrays, the regressor a csc matrix. It does not need chumpy."""
    package, module = types.ModuleType("chumpy"), types.ModuleType("chumpy.ch")
    chumpy = type("Ch", (), {"__module__": "chumpy.ch", "__qualname__": "Ch"})
    module.Ch = chumpy  # type: ignore[attr-defined]

    def wrapped(values: Array) -> Any:
        held = chumpy()
        held.x, held.dterms = values, "x"
        return held

    stored: dict[str, Any] = dict(model) | {"bs_style": "lbs", "bs_type": "lrotmin"}
    stored |= {name: wrapped(model[name]) for name in ("shapedirs", "posedirs", "v_template")}
    stored["J_regressor"] = scipy.sparse.csc_matrix(model["J_regressor"])
    sys.modules["chumpy"], sys.modules["chumpy.ch"] = package, module
    try:
        path.write_bytes(pickle.dumps(stored, protocol=2))
    finally:
        del sys.modules["chumpy"], sys.modules["chumpy.ch"]
    return path
