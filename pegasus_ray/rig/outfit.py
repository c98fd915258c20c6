"""Gives an imported rig what only the open rig knows: tissues, parts, texture coordinates, landmarks, blendshapes.

The open rig is laid over the other head (`align`), and nearest points tell which place of the one is which of the other.

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

from pegasus_ray.rig.align import Alignment, lay_over
from pegasus_ray.rig.closest import Surface, face_normals
from pegasus_ray.rig.model import NUMBERED, LandmarkEmbedding, Rig, Tissue

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

OUTSIDE: Final = (Tissue.SKIN, Tissue.LIPS, Tissue.MOUTH)
RIDGE: Final = 3e-4  # metres: a unit of an expression must explain that much a vertex of the face, or it stays out
SEAM: Final = 0.05  # of the texture's side; a face's corners farther apart than this lie on both sides of a seam


def outfit(rig: Rig, open_rig: Rig) -> Rig:
    """The imported rig with labels, textures, landmarks and blendshapes carried over from the open rig.

    Args:
        rig: with joints eye.L and eye.R, whose eyeballs are what these joints alone move.
        open_rig: the rig that knows.
    """
    joints = rig.joints(torch.zeros(1, len(rig.shape_names)))[0].double().numpy()
    balls = [rig.joint_names.index(name) for name in ("eye.L", "eye.R")]
    vertices, faces = rig.template.double().numpy(), rig.faces.numpy()
    eye = (rig.skin_weights[:, balls].sum(1) > 0.5)[rig.faces].all(1).numpy()
    laid = lay_over(open_rig, vertices, faces[~eye], joints[balls])

    middle, facing = vertices[faces].mean(1), face_normals(vertices[faces])
    triangles = np.empty(len(faces), dtype=np.int64)
    uvs = np.empty((len(faces), 3, 2))
    for own, kinds in ((~eye, OUTSIDE), (eye, (Tissue.EYE,))):
        known = _surface_of(open_rig, laid, kinds)
        triangles[own], at, _ = known.nearest(middle[own], facing[own])
        uvs[own] = _textures(open_rig, known, vertices[faces[own]], facing[own], triangles[own], at)
    return replace(
        rig,
        tissue=open_rig.tissue[torch.from_numpy(triangles)],
        parts=open_rig.parts[torch.from_numpy(triangles)],
        uvs=torch.from_numpy(uvs).float(),
        landmarks=_landmarks(rig, open_rig, laid, eye),
        from_blendshapes=regress_blendshapes(rig, open_rig, laid, eye),
    )


def _surface_of(open_rig: Rig, laid: Alignment, kinds: tuple[Tissue, ...]) -> Surface:
    chosen = np.isin(open_rig.tissue.numpy(), kinds)
    return Surface(laid.vertices, open_rig.faces.numpy(), chosen)


def _textures(
    open_rig: Rig,
    known: Surface,
    corners: Floats,  # (N, 3, 3)
    facing: Floats,  # (N, 3)
    triangles: Ints,  # (N,) of the faces' middles
    barycentric: Floats,  # (N, 3)
) -> Floats:
    """Texture coordinates of faces' corners (N, 3, 2); a face across a seam has its middle's all over."""
    own = open_rig.uvs.double().numpy()
    face, at, _ = known.nearest(corners.reshape(-1, 3), np.repeat(facing, 3, axis=0))
    uvs = (own[face] * at[..., None]).sum(1).reshape(-1, 3, 2)
    middle = (own[triangles] * barycentric[..., None]).sum(1)
    torn = np.abs(uvs - middle[:, None]).max((1, 2)) > SEAM
    return np.asarray(np.where(torn[:, None, None], middle[:, None], uvs))


def _landmarks(rig: Rig, open_rig: Rig, laid: Alignment, eye: npt.NDArray[np.bool_]) -> LandmarkEmbedding:
    """The open rig's landmarks at the nearest points of the imported rig; where the detector is at hand, measuring is better."""
    places = open_rig.landmarks
    corners = laid.vertices[open_rig.faces.numpy()[places.triangles.numpy()]]
    facing = face_normals(corners)
    points = (corners * places.barycentric.double().numpy()[..., None]).sum(1)
    on_eye = open_rig.tissue.numpy()[places.triangles.numpy()] == Tissue.EYE
    vertices, faces = rig.template.double().numpy(), rig.faces.numpy()
    triangles, barycentric = np.empty(len(points), dtype=np.int64), np.empty((len(points), 3))
    for wanted, chosen in ((on_eye, eye), (~on_eye, ~eye)):
        triangles[wanted], barycentric[wanted], _ = Surface(vertices, faces, chosen).nearest(
            points[wanted], facing[wanted]
        )
    return LandmarkEmbedding(
        triangles=torch.from_numpy(triangles),
        barycentric=torch.from_numpy(barycentric).float(),
        weights=places.weights.clone(),
        drift=None if places.drift is None else places.drift @ torch.from_numpy(laid.linear.T).float(),
    )


def regress_blendshapes(rig: Rig, open_rig: Rig, laid: Alignment, eye: npt.NDArray[np.bool_]) -> Tensor:
    """Expressions (E, 52) a unit of each blendshape: least squares between the two rigs' displacements of the head.

    Turned bones come first, none of them backwards; what they leave is for the numbered axes, by ridge regression.
    """
    vertices, faces = rig.template.double().numpy(), rig.faces.numpy()
    fields = (open_rig.expression_basis.double().numpy() @ laid.linear.T).transpose(1, 0, 2)  # (O, 52, 3)
    facing = np.asarray(trimesh.Trimesh(vertices, faces, process=False).vertex_normals)
    wanted = np.zeros((len(vertices), fields.shape[1], 3))
    for own, kinds in ((~eye, OUTSIDE), (eye, (Tissue.EYE,))):
        mine = np.unique(faces[own])
        triangle, barycentric, _ = _surface_of(open_rig, laid, kinds).nearest(vertices[mine], facing[mine])
        wanted[mine] = (fields[open_rig.faces.numpy()[triangle]] * barycentric[..., None, None]).sum(1)
    moving = (wanted**2).sum((1, 2)) > 1e-8
    basis = rig.expression_basis.double().numpy()[:, moving].transpose(1, 2, 0).reshape(-1, len(rig.expression_names))
    displaced = wanted[moving].transpose(0, 2, 1).reshape(len(basis), -1)
    turns = np.array([not name.startswith(NUMBERED) for name in rig.expression_names])
    found = np.zeros((basis.shape[1], displaced.shape[1]))
    root = np.linalg.cholesky(basis[:, turns].T @ basis[:, turns] + 1e-12 * np.eye(turns.sum()))
    pull = np.linalg.solve(root, basis[:, turns].T @ displaced)
    found[turns] = np.stack([nnls(root.T, column)[0] for column in pull.T], 1)
    axes, rest = basis[:, ~turns], displaced - basis[:, turns] @ found[turns]
    ridge = RIDGE**2 * moving.sum() * np.eye(axes.shape[1])
    found[~turns] = np.linalg.solve(axes.T @ axes + ridge, axes.T @ rest)
    return torch.from_numpy(found).float()
