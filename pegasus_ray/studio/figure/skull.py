"""The neutral head as a signed distance field, which keeps hair, hats and glasses outside it.

Legend: N points asked about, V vertices of the rig, S samples of the surface, J joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from scipy.spatial import cKDTree

from pegasus_ray.rig.model import Rig, Tissue
from pegasus_ray.schemas.parts import Part
from pegasus_ray.studio.arrays import Floats, Ints
from pegasus_ray.studio.figure.piece import unit, vertex_normals
from pegasus_ray.studio.noise import smoothstep

AXIS_Z: Final = -0.090  # metres: z of the head's vertical axis, behind the eyes
HANGING_TORSO_SHARE: Final = 0.75  # how far the lower ends of hair follow the torso instead of the head
NEIGHBOURS: Final = 4  # samples that a distance is blended from
EAR_ROOT_METRES: Final = 0.010
"""Skin nearer to the ears than this turns outwards. It is left out of the surface, so that hair passes over the ears."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Skull:
    """The outer surface of a neutral head and torso."""

    rig: Rig
    vertices: Floats  # (V, 3) metres, rest space
    normals: Floats  # (V, 3)
    samples: Floats  # (S, 3) metres, on the skin without ears and mouth
    sample_normals: Floats  # (S, 3)
    tree: cKDTree
    ears: Floats  # (2, 2, 3) centre and half extent of the right and the left ear
    ear_tree: cKDTree  # of the ears on the template

    @staticmethod
    def of(rig: Rig, vertices: Floats) -> Skull:
        """The skull of a person's neutral vertices (V, 3), with four samples on each face."""
        faces, tissue, parts = rig.faces.numpy(), rig.tissue.numpy(), rig.parts.numpy()
        normals = vertex_normals(vertices, faces)
        template = rig.template.numpy()
        outside = np.isin(tissue, (Tissue.SKIN, Tissue.LIPS)) & (parts != Part.EARS)
        ear = np.unique(faces[parts == Part.EARS])
        ear_tree = cKDTree(template[ear])
        chosen = faces[outside]
        chosen = chosen[ear_tree.query(template[chosen].mean(1))[0] > EAR_ROOT_METRES]
        shares = np.array([[1, 1, 1], [4, 1, 1], [1, 4, 1], [1, 1, 4]], np.float32)
        shares /= shares.sum(1, keepdims=True)
        samples = np.concatenate([np.einsum("c,fcd->fd", share, vertices[chosen]) for share in shares])
        sample_normals = unit(np.concatenate([np.einsum("c,fcd->fd", share, normals[chosen]) for share in shares]))
        ears = []
        for side in (-1, 1):
            points = vertices[ear[template[ear, 0] * side > 0]]
            low, high = points.min(0), points.max(0)
            ears.append(np.stack([(low + high) / 2, (high - low) / 2]))
        return Skull(
            rig=rig,
            vertices=vertices,
            normals=normals,
            samples=samples.astype(np.float32),
            sample_normals=sample_normals,
            tree=cKDTree(samples),
            ears=np.stack(ears).astype(np.float32),
            ear_tree=ear_tree,
        )

    def distance(self, points: Floats) -> tuple[Floats, Floats]:
        """Signed distance (N,) in metres of points (N, 3), positive outside, and the direction outwards (N, 3)."""
        far, near = self.tree.query(points, k=NEIGHBOURS)
        weight = 1 / (far + 1e-4) ** 2
        weight /= weight.sum(1, keepdims=True)
        outwards = unit(np.einsum("nk,nkd->nd", weight, self.sample_normals[near]).astype(np.float32))
        foot = np.einsum("nk,nkd->nd", weight, self.samples[near])
        return ((points - foot) * outwards).sum(1).astype(np.float32), outwards

    def push_out(self, points: Floats, clearance: Floats, *, over_ears: bool = False, hug: float = 0.0) -> Floats:
        """The points (N, 3) pushed out to at least `clearance` (N,) from the skin.

        Args:
            points: metres, rest space.
            clearance: metres.
            over_ears: whether they lie over the ears; there the clearance grows by most of an ear's depth.
            hug: 0–1, how far points above the jaw are drawn back that lie more than 3 mm beyond the clearance.
        """
        if over_ears:
            clearance = clearance + self._ear_clearance(points)
        depth, outwards = self.distance(points)
        shift = np.clip(clearance - depth, 0, None)
        if hug:
            shift -= hug * np.clip(depth - clearance - 0.003, 0, 0.05) * smoothstep(-0.06, 0.0, points[:, 1])
        return np.asarray(points + shift[:, None] * outwards, dtype=np.float32)

    def _ear_clearance(self, points: Floats) -> Floats:
        """Clearance (N,) in metres that points beside the ears need on top of their own."""
        room = np.zeros(len(points), np.float32)
        for centre, half in self.ears:
            off = (points - centre) / (1.5 * half)
            room += 0.8 * half[0] * np.exp(-(off[:, 1] ** 2 + off[:, 2] ** 2)) * (points[:, 0] * centre[0] > 0)
        return room

    def ear_distance(self, places: Floats) -> Floats:
        """Distance (N,) in metres of places (N, 3) of the template from the ears."""
        return np.asarray(self.ear_tree.query(places)[0], dtype=np.float32)

    def anchor(self, points: Floats) -> tuple[Ints, Floats]:
        """Bind points (N, 3) to the skin: the nearest face of each (N,), and that face's middle as barycentric (N, 3)."""
        faces = self._outer_faces()
        centres = self.vertices[self.rig.faces.numpy()[faces]].mean(1)
        near = cKDTree(centres).query(points)[1]
        return faces[near].astype(np.int64), np.full((len(points), 3), 1 / 3, np.float32)

    def crown(self) -> tuple[Ints, Floats]:
        """The face on top of the head, (1,), and its middle as barycentric (1, 3). No expression moves it."""
        return self.anchor(np.array([[0, 1.0, AXIS_Z]], np.float32))

    def head_weights(self, count: int) -> Floats:
        """Skinning weights (count, J) of things that move with the head alone."""
        weights = np.zeros((count, len(self.rig.joint_names)), np.float32)
        weights[:, self.rig.joint_names.index("head")] = 1
        return weights

    def _outer_faces(self) -> Ints:
        """Faces of the skin without the ears."""
        skin = (self.rig.tissue == Tissue.SKIN) & (self.rig.parts != Part.EARS)
        return np.asarray(torch.nonzero(skin)[:, 0].numpy(), dtype=np.int64)

    def hanging_weights(self, points: Floats) -> Floats:
        """Skinning weights (N, J) of hair at points (N, 3): of the head, and below the jaw partly of the torso."""
        weights = np.zeros((len(points), len(self.rig.joint_names)), np.float32)
        lower = HANGING_TORSO_SHARE * smoothstep(-0.085, -0.215, points[:, 1])
        weights[:, self.rig.joint_names.index("root")] = lower
        weights[:, self.rig.joint_names.index("head")] = 1 - lower
        return weights


def cylindrical(points: Floats) -> tuple[Floats, Floats]:
    """Azimuth (N,) of points (N, 3), radians, 0 in front, positive to the person's left; and metres (N,) from the head's axis."""
    x, z = points[:, 0], points[:, 2] - AXIS_Z
    return np.arctan2(x, z).astype(np.float32), np.hypot(x, z).astype(np.float32)


def outward_directions(points: Floats) -> Floats:
    """Smooth directions (N, 3) away from the head at points (N, 3): radial to a sphere above the eyes, to a cylinder below."""
    centre = np.stack([np.zeros(len(points)), np.minimum(points[:, 1], 0.015), np.full(len(points), AXIS_Z)], 1)
    return unit((points - centre).astype(np.float32))
