"""A person's meshes assembled: the rig's surface with skin and cloth, and every piece bound to it, ready to be posed.

Legend: V vertices of the rig, N vertices in all, F faces in all, E expressions, L vertices of lashes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pegasus_ray.rig.model import Pose, Rig, Tissue, bone_transforms, skin, skin_normals
from pegasus_ray.rig.rest import UPPER_LASH_SHARE
from pegasus_ray.studio.arrays import Bools, Floats, Ints
from pegasus_ray.studio.figure.clothes import cloth_offsets, make_collar
from pegasus_ray.studio.figure.face_paint import EYE_OFFSET_METRES
from pegasus_ray.studio.figure.glasses import make_glasses
from pegasus_ray.studio.figure.hair import grow_beard, grow_hair
from pegasus_ray.studio.figure.hair_growth import beard_density
from pegasus_ray.studio.figure.hats import make_hat
from pegasus_ray.studio.figure.piece import Material, Piece, vertex_normals
from pegasus_ray.studio.figure.shape_noise import shape_noise
from pegasus_ray.studio.figure.skull import Skull
from pegasus_ray.studio.identity import shape_tensor, studio_rig
from pegasus_ray.studio.person import Person

MATERIAL_OF: Final = {  # how each tissue of the rig is shaded
    Tissue.SKIN: Material.SKIN,
    Tissue.LIPS: Material.SKIN,
    Tissue.MOUTH: Material.SKIN,
    Tissue.EYE: Material.EYE,
    Tissue.TEETH: Material.TEETH,
    Tissue.TONGUE: Material.TONGUE,
    Tissue.LASHES: Material.LASHES,
}
SHOWN_LASH_SHARE: Final = 0.55  # of the length of the rig's lash sheets, from the root


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A person's meshes on a neutral face, the rig's vertices and faces first."""

    person: Person
    rig: Rig
    shape_noise: Floats  # (V, 3) metres, rest space
    cloth_offsets: Floats  # (V, 3) metres, rest space: from the torso's skin to the cloth
    pieces: tuple[Piece, ...]
    faces: Ints  # (F, 3)
    material: Ints  # (F,) `Material`
    half_width: Floats  # (F,) metres, of a strand of hair
    places: Floats  # (N, 3) metres: on the template for the rig's vertices, in rest space for a piece's
    coordinates: Floats  # (N, 3) `Piece.coordinates`; on the rig zero but for its lashes
    neutral: Floats  # (N, 3) rest space, neutral face

    @staticmethod
    def of(person: Person, *, detail: float = 1.0) -> Figure:
        """Builds a person's meshes; `detail` below 1 makes fewer, wider ribbons of hair."""
        rig = studio_rig()
        noise = shape_noise(person.seed, person.noise, rig)
        vertices = _neutral_vertices(rig, person) + noise
        cloth = cloth_offsets(person.cloth.style, rig, vertices)
        pieces = _make_pieces(person, Skull.of(rig, vertices + cloth), detail)
        starts = np.cumsum([len(rig.template)] + [len(piece.points) for piece in pieces])
        tissue, lashes = rig.tissue.numpy(), _lash_coordinates(rig)
        return Figure(
            person=person,
            rig=rig,
            shape_noise=noise,
            cloth_offsets=cloth,
            pieces=tuple(pieces),
            faces=np.concatenate(
                [_shown_faces(rig, lashes)]
                + [piece.faces + start for piece, start in zip(pieces, starts, strict=False)]
            ),
            material=np.concatenate(
                [np.array([MATERIAL_OF[Tissue(kind)] for kind in range(len(Tissue))])[tissue]]
                + [np.full(len(piece.faces), piece.material) for piece in pieces]
            ),
            half_width=np.concatenate(
                [np.ones(len(rig.faces), np.float32)]
                + [np.full(len(piece.faces), piece.half_width, np.float32) for piece in pieces]
            ),
            places=np.concatenate([rig.template.numpy()] + [piece.points for piece in pieces]),
            coordinates=np.concatenate([lashes] + [piece.coordinates for piece in pieces]),
            neutral=np.concatenate([vertices + cloth] + [piece.points for piece in pieces]),
        )

    def posed(
        self,
        expression: Tensor,  # (1, E)
        pose: Pose,  # of one frame
    ) -> PosedFigure:
        """The meshes of one frame in camera space. A piece moves with the places on the face that it is bound to."""
        rig, shape = self.rig, shape_tensor(self.person)
        transforms = bone_transforms(rig, pose, rig.joints(shape))
        moved = rig.vertices(shape, expression)[0].numpy() + self.shape_noise
        surface = torch.from_numpy(moved + self.cloth_offsets)[None]
        vertices = [skin(surface, rig.skin_weights, transforms)[0].numpy()]
        normals = [vertex_normals(vertices[0], rig.faces.numpy())]
        tangents = [np.zeros_like(vertices[0])]
        change = torch.einsum("e,evc->vc", expression[0], rig.expression_basis).numpy()
        for piece in self.pieces:
            corners = change[rig.faces.numpy()[piece.triangles]]
            moved = np.einsum("ac,acd->ad", piece.barycentric, corners)
            at_rest = piece.points + np.repeat(moved, len(piece.points) // len(moved), 0)
            joints = np.flatnonzero(piece.weights.any(0))
            weights, bones = torch.from_numpy(piece.weights[:, joints]), transforms[:, joints]
            vertices.append(skin(torch.from_numpy(at_rest), weights, bones)[0].numpy())
            normals.append(skin_normals(torch.from_numpy(piece.normals), weights, bones)[0].numpy())
            stranded = piece.material in (Material.HAIR, Material.BEARD)
            rest = torch.from_numpy(piece.tangents)
            tangents.append(skin_normals(rest, weights, bones)[0].numpy() if stranded else piece.tangents)
        return PosedFigure(
            vertices=np.concatenate(vertices), normals=np.concatenate(normals), tangents=np.concatenate(tangents)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PosedFigure:
    """A figure in one frame, in camera space."""

    vertices: Floats  # (N, 3) metres
    normals: Floats  # (N, 3)
    tangents: Floats  # (N, 3)


def _make_pieces(person: Person, skull: Skull, detail: float) -> list[Piece]:
    """All pieces bound to the body. Glasses come last, so that lenses are the last faces of a figure."""
    rig = skull.rig
    pieces = [make_collar(person.cloth.style, skull)]
    hair = grow_hair(person.hair, skull, under_hat=person.hat is not None, detail=detail)
    if hair is not None:
        pieces.append(hair)
    if person.beard is not None:
        centres = rig.template.numpy()[rig.faces.numpy()].mean(1)
        density = beard_density(centres) * (rig.tissue == Tissue.SKIN).numpy()
        pieces.append(grow_beard(person.beard, skull, density))
    if person.hat is not None:
        pieces.extend(make_hat(person.hat, skull))
    if person.glasses is not None:
        pieces.extend(make_glasses(person.glasses, skull))
    return pieces


def _lash_coordinates(rig: Rig) -> Floats:
    """`Piece.coordinates` (V, 3) of the lashes' vertices: metres along the lid, 0 (root) to 1 (tip), 1 on the upper lid.

    They are zero on all other vertices. The rig's lash sheets are trimmed, so their ends lie before 1.
    """
    places = rig.template.numpy()
    coordinates = np.zeros_like(places)
    lashes = np.unique(rig.faces.numpy()[(rig.tissue == Tissue.LASHES).numpy()])
    x = places[lashes, 0]
    upper = _on_upper_lid(rig, lashes)
    from_eye = np.linalg.norm(places[lashes] - np.stack([np.sign(x) * EYE_OFFSET_METRES, 0 * x, 0 * x], 1), axis=1)
    for group in (upper, ~upper):
        near = (np.abs(x[:, None] - x[None]) < 0.0030) & group[:, None] & group[None]
        low = np.where(near, from_eye[None], np.inf).min(1)
        high = np.where(near, from_eye[None], -np.inf).max(1)
        chosen = lashes[group]
        coordinates[chosen, 0] = x[group]
        coordinates[chosen, 1] = UPPER_LASH_SHARE * ((from_eye - low) / np.maximum(high - low, 1e-4))[group]
        coordinates[chosen, 2] = 1.0 if group is upper else 0.0
    return coordinates


def _shown_faces(rig: Rig, lashes: Floats) -> Ints:
    """The rig's faces, (faces, 3). Lash faces on lower lids and at the far ends are hidden by making them degenerate."""
    faces = rig.faces.numpy().copy()
    corners = lashes[faces]
    hidden = (corners[..., 1].min(1) > SHOWN_LASH_SHARE) | (corners[..., 2].max(1) < 0.5)
    faces[hidden & (rig.tissue == Tissue.LASHES).numpy()] = 0
    return faces


def _on_upper_lid(rig: Rig, lashes: Ints) -> Bools:
    """Which vertices (L,) of lashes go down with the upper lid in a blink, (L,)."""
    names = rig.expression_names
    blink = rig.expression_basis[names.index("eyeBlinkLeft")] + rig.expression_basis[names.index("eyeBlinkRight")]
    return np.asarray(blink.numpy()[lashes, 1] < -1e-5)


def _neutral_vertices(rig: Rig, person: Person) -> Floats:
    """The person's vertices (V, 3) without any expression and without shape noise."""
    still = rig.vertices(shape_tensor(person), torch.zeros(1, len(rig.expression_names)))
    return np.asarray(still[0].numpy())
