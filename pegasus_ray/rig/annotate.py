"""Gives an imported rig what only the open rig has: tissues, parts, texture coordinates, landmarks, blendshapes.

The open rig is registered to the other head (`align`). Each place of the imported rig then gets the labels of the nearest point
of the open rig.

Legend: V vertices and F faces of the imported rig, E its expressions, O vertices of the open rig, N points.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
import trimesh
from scipy.optimize import nnls
from torch import Tensor

from pegasus_ray.rig.align import Alignment, register_open_rig
from pegasus_ray.rig.closest import Surface, face_normals
from pegasus_ray.rig.model import NUMBERED_PREFIX, LandmarkEmbedding, Rig, Tissue

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SKIN_TISSUES: Final = (Tissue.SKIN, Tissue.LIPS, Tissue.MOUTH)
"""Tissues of the mesh that is not an eyeball."""
RIDGE_METRES: Final = 3e-4
"""Strength of the ridge regression: a unit of an expression costs as much as this misfit of every moving vertex."""
MAX_FACE_UV: Final = 0.05
"""Share of the texture's side: a face with a corner farther than this from its centroid, in u or v, lies across a seam."""


def annotate(rig: Rig, open_rig: Rig) -> Rig:
    """The imported rig with labels, textures, landmarks and blendshapes carried over from the open rig.

    Args:
        rig: the imported rig; it has joints eye.L and eye.R, and its eyeballs are the vertices that these joints move.
        open_rig: the rig that has the annotations.
    """
    joints = rig.joints(torch.zeros(1, len(rig.shape_names)))[0].double().numpy()
    eye_joints = [rig.joint_names.index(name) for name in ("eye.L", "eye.R")]
    vertices, faces = rig.template.double().numpy(), rig.faces.numpy()
    eye = (rig.skin_weights[:, eye_joints].sum(1) > 0.5)[rig.faces].all(1).numpy()
    registered = register_open_rig(open_rig, vertices, faces[~eye], joints[eye_joints])

    centroids, normals = vertices[faces].mean(1), face_normals(vertices[faces])
    triangles = np.empty(len(faces), dtype=np.int64)
    uvs = np.empty((len(faces), 3, 2))
    for own, kinds in ((~eye, SKIN_TISSUES), (eye, (Tissue.EYE,))):
        known = _surface_of(open_rig, registered, kinds)
        triangles[own], at, _ = known.nearest(centroids[own], normals[own])
        uvs[own] = _textures(open_rig, known, vertices[faces[own]], normals[own], triangles[own], at)
    return replace(
        rig,
        tissue=open_rig.tissue[torch.from_numpy(triangles)],
        parts=open_rig.parts[torch.from_numpy(triangles)],
        uvs=torch.from_numpy(uvs).float(),
        landmarks=_landmarks(rig, open_rig, registered, eye),
        from_blendshapes=_regress_blendshapes(rig, open_rig, registered, eye),
    )


def _surface_of(open_rig: Rig, registered: Alignment, kinds: tuple[Tissue, ...]) -> Surface:
    """The faces of the registered open rig that are of these tissues."""
    chosen = np.isin(open_rig.tissue.numpy(), kinds)
    return Surface(registered.vertices, open_rig.faces.numpy(), chosen)


def _textures(
    open_rig: Rig,
    known: Surface,
    corners: Floats,  # (N, 3, 3)
    normals: Floats,  # (N, 3)
    triangles: Ints,  # (N,) the open rig's face at each centroid
    barycentric: Floats,  # (N, 3)
) -> Floats:
    """Texture coordinates of faces' corners (N, 3, 2). A face across a seam has those of its centroid at all corners."""
    known_uvs = open_rig.uvs.double().numpy()
    face, at, _ = known.nearest(corners.reshape(-1, 3), np.repeat(normals, 3, axis=0))
    uvs = (known_uvs[face] * at[..., None]).sum(1).reshape(-1, 3, 2)
    centroid = (known_uvs[triangles] * barycentric[..., None]).sum(1)
    torn = np.abs(uvs - centroid[:, None]).max((1, 2)) > MAX_FACE_UV
    return np.asarray(np.where(torn[:, None, None], centroid[:, None], uvs))


def _landmarks(rig: Rig, open_rig: Rig, registered: Alignment, eye: Bools) -> LandmarkEmbedding:
    """The open rig's landmarks at the nearest points of the imported rig.

    Where the landmark detector's files are there, measuring the landmarks on the imported rig is more precise.
    """
    places = open_rig.landmarks
    corners = registered.vertices[open_rig.faces.numpy()[places.triangles.numpy()]]
    normals = face_normals(corners)
    points = (corners * places.barycentric.double().numpy()[..., None]).sum(1)
    on_eye = open_rig.tissue.numpy()[places.triangles.numpy()] == Tissue.EYE
    vertices, faces = rig.template.double().numpy(), rig.faces.numpy()
    triangles, barycentric = np.empty(len(points), dtype=np.int64), np.empty((len(points), 3))
    for wanted, chosen in ((on_eye, eye), (~on_eye, ~eye)):
        triangles[wanted], barycentric[wanted], _ = Surface(vertices, faces, chosen).nearest(
            points[wanted], normals[wanted]
        )
    return LandmarkEmbedding(
        triangles=torch.from_numpy(triangles),
        barycentric=torch.from_numpy(barycentric).float(),
        weights=places.weights.clone(),
        drift=None if places.drift is None else places.drift @ torch.from_numpy(registered.linear.T).float(),
    )


def _regress_blendshapes(rig: Rig, open_rig: Rig, registered: Alignment, eye: Bools) -> Tensor:
    """Expressions (E, 52) a unit of each blendshape: least squares between the two rigs' displacements of the head.

    The expressions of turned joints are fitted first, with coefficients that are not negative. Ridge regression on the
    numbered axes then explains what they leave.
    """
    vertices, faces = rig.template.double().numpy(), rig.faces.numpy()
    displacements = (open_rig.expression_basis.double().numpy() @ registered.linear.T).transpose(1, 0, 2)  # (O, 52, 3)
    normals = np.asarray(trimesh.Trimesh(vertices, faces, process=False).vertex_normals)
    wanted = np.zeros((len(vertices), displacements.shape[1], 3))
    for own, kinds in ((~eye, SKIN_TISSUES), (eye, (Tissue.EYE,))):
        own_vertices = np.unique(faces[own])
        known = _surface_of(open_rig, registered, kinds)
        triangle, barycentric, _ = known.nearest(vertices[own_vertices], normals[own_vertices])
        corners = displacements[open_rig.faces.numpy()[triangle]]
        wanted[own_vertices] = (corners * barycentric[..., None, None]).sum(1)
    moving = (wanted**2).sum((1, 2)) > 1e-8
    basis = rig.expression_basis.double().numpy()[:, moving].transpose(1, 2, 0).reshape(-1, len(rig.expression_names))
    target = wanted[moving].transpose(0, 2, 1).reshape(len(basis), -1)
    turned = np.array([not name.startswith(NUMBERED_PREFIX) for name in rig.expression_names])
    found = np.zeros((basis.shape[1], target.shape[1]))
    root = np.linalg.cholesky(basis[:, turned].T @ basis[:, turned] + 1e-12 * np.eye(turned.sum()))
    projected = np.linalg.solve(root, basis[:, turned].T @ target)
    found[turned] = np.stack([nnls(root.T, column)[0] for column in projected.T], 1)
    axes, rest = basis[:, ~turned], target - basis[:, turned] @ found[turned]
    ridge = RIDGE_METRES**2 * moving.sum() * np.eye(axes.shape[1])
    found[~turned] = np.linalg.solve(axes.T @ axes + ridge, axes.T @ rest)
    return torch.from_numpy(found).float()
