"""Lays the open rig over another head, so that what is known of the one can be read off for the other.

A similarity from the eyeballs, and then rounds of nearest points in which the similarity and the open rig's identity axes
follow the other head's face: so lips come to lie on lips, which no rigid alignment of two average faces gives.

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

ROUNDS: Final = 20
STIFFNESS: Final = 5e-4  # metres of misfit, of all matched points, that one unit of an identity axis is worth
SLIDE: Final = 0.02  # of a match along the surface, beside 1 across it: nearest points say little about it
FURTHEST: Final = 0.02  # metres; what lies farther from the other head has no match on it

EYES: Final = 0.1  # what an eyeball's middle counts, beside all matched points together


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """The open rig laid over another head."""

    vertices: Floats  # (V, 3) metres, in the other head's space
    linear: Floats  # (3, 3) takes directions and displacements of the open rig there


def lay_over(
    rig: Rig,  # the open rig
    vertices: Floats,  # (U, 3) metres, y up, face towards +z
    faces: Ints,
    eyes: Floats,  # (2, 3) middles of the left and the right eyeball
) -> Alignment:
    """The open rig in the other head's place, with its form."""
    basis = rig.shape_basis.double().numpy()
    rest, eyeballs = rig.template.double().numpy(), [rig.joint_names.index(name) for name in ("eye.L", "eye.R")]
    regressor = rig.joint_regressor.double().numpy()[eyeballs]
    own = regressor @ rest
    scale = float(np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(own[0] - own[1]))
    turn, shift = np.eye(3), eyes.mean(0) - scale * own.mean(0)
    shape = np.zeros(len(basis))
    matched = _face(rig)
    head = Surface(vertices, faces)
    triangle = vertices[faces]
    for _ in range(ROUNDS):
        still = rest + np.einsum("k,kvc->vc", shape, basis)
        points = np.concatenate([still[matched], regressor @ still])
        axes = np.concatenate([basis[:, matched], np.einsum("jv,kvc->kjc", regressor, basis)], axis=1)
        placed = scale * points @ turn.T + shift
        face, barycentric, distance = head.nearest(placed)
        target = (barycentric[..., None] * triangle[face]).sum(1)
        target[-2:] = eyes
        reach = min(FURTHEST, 3 * float(np.median(distance[:-2])) + 1e-3)
        trusted = (distance < reach).astype(np.float64)
        trusted[-2:] = EYES * len(matched)
        normal = head.normals[face]
        metric = SLIDE * np.eye(3) + (1 - SLIDE) * normal[:, :, None] * normal[:, None]
        metric[-2:] = np.eye(3)
        about = placed - shift
        jacobian = np.concatenate(
            [
                scale * (axes @ turn.T).transpose(1, 2, 0),  # by identity
                np.stack([np.cross(axis, about) for axis in np.eye(3)], -1),  # by rotation
                np.broadcast_to(np.eye(3), (len(points), 3, 3)),  # by translation
                about[..., None],  # by the scale's logarithm
            ],
            axis=-1,
        )
        weighted = np.einsum("n,ncd,ndq->ncq", trusted, metric, jacobian)
        curvature = np.einsum("ncq,ncr->qr", jacobian, weighted)
        gradient = np.einsum("ncq,nc->q", weighted, target - placed)
        prior = np.zeros(len(curvature))
        prior[: len(shape)] = trusted.sum() * STIFFNESS**2
        gradient[: len(shape)] -= prior[: len(shape)] * shape
        step = np.linalg.solve(curvature + np.diag(prior + 1e-9), gradient)
        shape = shape + step[: len(shape)]
        rotation, moved, grow = step[-7:-4], step[-4:-1], step[-1]
        turn = Rotation.from_rotvec(rotation).as_matrix() @ turn
        shift, scale = shift + moved, scale * float(np.exp(grow))
    laid = scale * (rest + np.einsum("k,kvc->vc", shape, basis)) @ turn.T + shift
    return Alignment(vertices=laid, linear=scale * turn)


def _face(rig: Rig) -> Ints:
    """The vertices of the open rig's face and scalp that are matched."""
    skin = (rig.tissue == Tissue.SKIN) | (rig.tissue == Tissue.LIPS)
    bare = (rig.parts != Part.NECK) & (rig.parts != Part.CLOTH) & (rig.parts != Part.EARS)
    return np.unique(rig.faces[skin & bare].numpy())
