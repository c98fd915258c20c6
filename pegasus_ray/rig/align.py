"""Registers the open rig to another head, so that the open rig's annotations can be carried over.

A similarity transform is taken from the eyeballs. Gauss–Newton iterations on nearest points then refine it together with the
open rig's identity axes. The axes are needed because a rigid alignment of two average faces does not bring lips onto lips.

Legend: V vertices of the open rig, U of the other head, K shape axes, N points matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from pegasus_ray.rig.closest import Surface
from pegasus_ray.rig.model import Rig, Tissue
from pegasus_ray.schemas.parts import Part

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ITERATIONS: Final = 20  # Gauss–Newton steps
SHAPE_PRIOR_METRES: Final = 5e-4  # one unit of an identity axis costs as much as this misfit of all matched points
TANGENTIAL_WEIGHT: Final = 0.02
"""Weight of the misfit along the surface; across it the weight is 1. Nearest points say little about shifts along a surface."""
MAX_MATCH_METRES: Final = 0.02  # a point farther from the other head has no match on it
EYE_WEIGHT: Final = 0.1  # of each eyeball's centre; all matched points together weigh 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The open rig registered to another head."""

    vertices: Floats  # (V, 3) metres, in the other head's space
    linear: Floats  # (3, 3) takes directions and displacements of the open rig there


def register_open_rig(
    rig: Rig,  # the open rig
    vertices: Floats,  # (U, 3) metres, y up, face towards +z
    faces: Ints,
    eyes: Floats,  # (2, 3) centres of the left and the right eyeball
) -> Alignment:
    """Fit the open rig's place, size and identity axes to the other head."""
    basis = rig.shape_basis.double().numpy()
    rest, eyeballs = rig.template.double().numpy(), [rig.joint_names.index(name) for name in ("eye.L", "eye.R")]
    regressor = rig.joint_regressor.double().numpy()[eyeballs]
    own_eyes = regressor @ rest
    scale = float(np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(own_eyes[0] - own_eyes[1]))
    turn, shift = np.eye(3), eyes.mean(0) - scale * own_eyes.mean(0)
    shape = np.zeros(len(basis))
    matched = _matched_vertices(rig)
    head = Surface(vertices, faces)
    triangle = vertices[faces]
    for _ in range(ITERATIONS):
        still = rest + np.einsum("k,kvc->vc", shape, basis)
        points = np.concatenate([still[matched], regressor @ still])
        axes = np.concatenate([basis[:, matched], np.einsum("jv,kvc->kjc", regressor, basis)], axis=1)
        placed = scale * points @ turn.T + shift
        face, barycentric, distance = head.nearest(placed)
        target = (barycentric[..., None] * triangle[face]).sum(1)
        target[-2:] = eyes
        reach = min(MAX_MATCH_METRES, 3 * float(np.median(distance[:-2])) + 1e-3)
        weight = (distance < reach).astype(np.float64)
        weight[-2:] = EYE_WEIGHT * len(matched)
        normal = head.normals[face]
        metric = TANGENTIAL_WEIGHT * np.eye(3) + (1 - TANGENTIAL_WEIGHT) * normal[:, :, None] * normal[:, None]
        metric[-2:] = np.eye(3)
        jacobian = _jacobian(axes, turn, scale, placed - shift)
        weighted = np.einsum("n,ncd,ndq->ncq", weight, metric, jacobian)
        curvature = np.einsum("ncq,ncr->qr", jacobian, weighted)
        gradient = np.einsum("ncq,nc->q", weighted, target - placed)
        prior = np.zeros(len(curvature))
        prior[: len(shape)] = weight.sum() * SHAPE_PRIOR_METRES**2
        gradient[: len(shape)] -= prior[: len(shape)] * shape
        step = np.linalg.solve(curvature + np.diag(prior + 1e-9), gradient)
        shape = shape + step[: len(shape)]
        rotation, moved, grow = step[-7:-4], step[-4:-1], step[-1]
        turn = Rotation.from_rotvec(rotation).as_matrix() @ turn
        shift, scale = shift + moved, scale * float(np.exp(grow))
    registered = scale * (rest + np.einsum("k,kvc->vc", shape, basis)) @ turn.T + shift
    return Alignment(vertices=registered, linear=scale * turn)


def _jacobian(
    axes: Floats,  # (K, N, 3) displacement of each point a unit of each identity axis
    turn: Floats,  # (3, 3)
    scale: float,
    about: Floats,  # (N, 3) the points turned and scaled, not yet shifted
) -> Floats:
    """How the placed points move with the unknowns, (N, 3, K + 7): identity, rotation, translation, logarithm of the scale."""
    return np.concatenate(
        [
            scale * (axes @ turn.T).transpose(1, 2, 0),
            np.stack([np.cross(axis, about) for axis in np.eye(3)], -1),
            np.broadcast_to(np.eye(3), (len(about), 3, 3)),
            about[..., None],
        ],
        axis=-1,
    )


def _matched_vertices(rig: Rig) -> Ints:
    """The vertices of the open rig's face and scalp."""
    skin = (rig.tissue == Tissue.SKIN) | (rig.tissue == Tissue.LIPS)
    bare = (rig.parts != Part.NECK) & (rig.parts != Part.CLOTH) & (rig.parts != Part.EARS)
    return np.unique(rig.faces[skin & bare].numpy())
