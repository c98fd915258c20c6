"""What the places that rays see look like, and what they are called: every material's colour and label.

Legend: N samples, M samples of one material, V vertices of the rig, F faces of the figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.rig.model import Tissue
from pegasus_ray.schemas.parts import Label
from pegasus_ray.studio.figure.clothes import cloth_depth
from pegasus_ray.studio.figure.face_paint import FacePaint, Painted
from pegasus_ray.studio.figure.figure import Figure, Posed
from pegasus_ray.studio.figure.piece import Ints, Material, unit
from pegasus_ray.studio.film import shade
from pegasus_ray.studio.film.surroundings import membership, occlusion
from pegasus_ray.studio.film.tracing import Bools, lash_opacity, strand_opacity
from pegasus_ray.studio.noise import Floats, Noise
from pegasus_ray.studio.people import Person

Labels = npt.NDArray[np.uint8]

JAW: Final = (-0.111, -0.37)  # y of the plane along the jaw's edge on the template: at z = 0, and a metre of z
MOUTH_LINE: Final = -0.0708  # y of the line between the lips on the template
TEETH_MEET: Final = -0.0672  # y on the template


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What a figure looks like whatever it does: measured once, before the first frame."""

    figure: Figure
    paint: FacePaint
    noise: Noise
    fixed: Floats  # (N, 7) of the figure's vertices: its places, its coordinates, its `occlusion`
    lining: Bools  # (F,) of the figure's faces: the inside of the mouth
    membership: Floats  # (V, 3) how far a vertex of the rig belongs to nose, ears, neck
    footprint: float  # metres on the head that one ray stands for

    @staticmethod
    def of(person: Person, footprint: float, *, detail: float = 1.0) -> Looks:
        """Grows the person and measures how much of the surroundings each place of it sees."""
        figure = Figure.of(person, detail=detail)
        tissue = figure.rig.tissue.numpy()
        return Looks(
            figure=figure,
            paint=FacePaint.of(person, footprint),
            noise=Noise.of(person.seed),
            fixed=np.concatenate([figure.places, figure.coordinates, occlusion(figure)[:, None]], 1),
            lining=np.pad(tissue == Tissue.MOUTH, (0, len(figure.faces) - len(tissue))),
            membership=membership(figure),
            footprint=footprint,
        )


class Surfaces:
    """A figure in one frame: its materials, asked at places of its surface."""

    def __init__(self, looks: Looks, posed: Posed, rays: MeshTracer) -> None:
        self.looks, self.figure, self.posed, self.rays = looks, looks.figure, posed, rays
        self.moving = np.concatenate([posed.vertices, posed.normals, posed.tangents], 1)

    def mixed(self, values: Floats, triangle: Ints, barycentric: Floats) -> Floats:
        """Quantities (V, C) of the vertices at places of the surface, (N, C)."""
        corners = self.figure.faces[triangle]
        mixed = values[corners[:, 0]] * barycentric[:, :1]
        mixed += values[corners[:, 1]] * barycentric[:, 1:2]
        mixed += values[corners[:, 2]] * barycentric[:, 2:]
        return np.asarray(mixed, dtype=np.float32)

    def opacity(self, triangle: Ints, barycentric: Floats, directions: Floats) -> Floats:
        """How much of a ray each place takes, (N,): gaps between strands and lashes let it through.

        Nothing is seen of the mouth's lining from behind, through a cheek.
        """
        figure, looks = self.figure, self.looks
        material = figure.material[triangle]
        taken = np.ones(len(triangle), np.float32)
        for kind in (Material.HAIR, Material.BEARD, Material.LASHES):
            chosen = np.flatnonzero(material == kind)
            if len(chosen):
                coordinates = self.mixed(figure.coordinates, triangle[chosen], barycentric[chosen])
                if kind is Material.LASHES:
                    taken[chosen] = lash_opacity(coordinates)
                else:
                    taken[chosen] = strand_opacity(coordinates, looks.footprint / figure.half_width[triangle[chosen]])
        lining = np.flatnonzero(looks.lining[triangle])
        a, b, c = np.moveaxis(self.posed.vertices[figure.faces[triangle[lining]]], 1, 0)
        taken[lining] = (np.cross(b - a, c - a) * directions[lining]).sum(1) < 0
        return taken

    def samples(
        self,
        triangle: Ints,  # (N,)
        barycentric: Floats,  # (N, 3)
        view: Floats,  # (N, 3) towards the camera
        lamps: Floats,  # (L, N, 3) directions to places on the lamp
    ) -> shade.Samples:
        """Everything that shading needs to know of places."""
        figure = self.figure
        moving = self.mixed(self.moving, triangle, barycentric)
        points, normals, tangents = moving[:, :3], unit(moving[:, 3:6]), unit(moving[:, 6:])
        fixed = self.mixed(self.looks.fixed, triangle, barycentric)
        hair = np.isin(figure.material[triangle], (Material.HAIR, Material.BEARD))
        away = ((normals * view).sum(1) < 0) & ~hair
        normals[away] = unit(normals[away] - 1.02 * (normals[away] * view[away]).sum(1, keepdims=True) * view[away])
        start = (points + np.where(hair, 0.0060, 0.0012)[:, None].astype(np.float32) * normals + 0.001 * view).astype(
            np.float32
        )
        lit = np.zeros(len(points), np.float32)
        for towards in lamps:
            facing = np.flatnonzero((normals * towards).sum(1) > -0.35)
            lit[facing] += ~self.rays.occluded(start[facing], towards[facing], 0.6)
        return shade.Samples(
            points=points,
            normals=normals,
            view=view,
            tangents=tangents,
            places=fixed[:, :3],
            coordinates=fixed[:, 3:6],
            occlusion=fixed[:, 6],
            lit=lit / np.float32(len(lamps)),
        )

    def shaded(self, triangle: Ints, barycentric: Floats, samples: shade.Samples) -> tuple[Floats, Labels]:
        """Colour (N, 3) in linear light and `Label` (N,) of samples."""
        figure, person, noise = self.figure, self.figure.person, self.looks.noise
        material = figure.material[triangle]
        colour = np.zeros((len(triangle), 3), np.float32)
        label = np.zeros(len(triangle), np.uint8)
        for kind in Material:
            chosen = np.flatnonzero(material == kind)
            if not len(chosen):
                continue
            part = samples.where(chosen)
            left = part.places[:, 0] < 0  # of the picture
            match kind:
                case Material.SKIN:
                    colour[chosen], label[chosen] = self._body(triangle[chosen], barycentric[chosen], part)
                case Material.EYE:
                    colour[chosen] = self._eyes(part)
                    label[chosen] = np.where(left, Label.EYE_LEFT, Label.EYE_RIGHT)
                case Material.TEETH:
                    upper = figure.places[figure.faces[triangle[chosen]]].mean(1)[:, 1] > TEETH_MEET
                    colour[chosen], label[chosen] = shade.shade_teeth(part, upper), Label.MOUTH
                case Material.TONGUE:
                    colour[chosen], label[chosen] = shade.shade_tongue(part, noise), Label.MOUTH
                case Material.LASHES:
                    colour[chosen], label[chosen] = shade.shade_lashes(part), Label.SKIN
                case Material.HAIR:
                    colour[chosen], label[chosen] = shade.shade_hair(part, person.hair.colour), Label.HAIR
                case Material.BEARD:
                    label[chosen] = np.where(_below_jaw(part.places), Label.NECK, Label.SKIN)  # as face parsers have it
                    if person.beard is not None:
                        colour[chosen] = shade.shade_hair(part, person.beard.colour)
                case Material.CLOTH:
                    above = np.full(len(chosen), 0.02, np.float32)
                    whole = np.ones(len(chosen), bool)
                    colour[chosen] = shade.shade_cloth(part, person.cloth, above, noise, collar=whole)
                    label[chosen] = Label.CLOTH
                case Material.HAT:
                    label[chosen] = Label.HAT
                    if person.hat is not None:
                        colour[chosen] = shade.shade_hat(part, person.hat, noise)
                case Material.FRAME | Material.LENS:
                    label[chosen] = Label.GLASSES
                    if person.glasses is not None:
                        draw = shade.shade_frame if kind is Material.FRAME else shade.shade_lens
                        colour[chosen] = draw(part, person.glasses)
        return colour, label

    def _body(self, triangle: Ints, barycentric: Floats, samples: shade.Samples) -> tuple[Floats, Labels]:
        """Skin, lips, mouth and cloth: all that is the rig's body."""
        figure, person, noise = self.figure, self.figure.person, self.looks.noise
        uvs = np.einsum("nc,ncd->nd", barycentric, figure.rig.uvs.numpy()[triangle]).astype(np.float32)
        depth = cloth_depth(person.cloth.style, samples.places)
        clothed = (depth > 0) & (samples.places[:, 1] < -0.09)
        colour = np.empty((len(triangle), 3), np.float32)
        label = np.full(len(triangle), Label.CLOTH, np.uint8)
        covered, bare = np.flatnonzero(clothed), np.flatnonzero(~clothed)
        if len(covered):
            collar = np.zeros(len(covered), bool)
            colour[covered] = shade.shade_cloth(
                samples.where(clothed), person.cloth, depth[covered], noise, collar=collar
            )
        skin = samples.where(~clothed)
        paint = self.looks.paint(skin.places, uvs[bare])
        colour[bare] = shade.shade_skin(skin, paint, noise)
        label[bare] = self._skin_labels(paint, skin.places, triangle[bare], barycentric[bare])
        return colour, label

    def _skin_labels(self, paint: Painted, places: Floats, triangle: Ints, barycentric: Floats) -> Labels:
        left = places[:, 0] < 0
        nose, ears, neck = self.mixed(self.looks.membership, triangle, barycentric).T
        label = np.full(len(places), Label.SKIN, np.uint8)
        label[(neck > 0.5) | _below_jaw(places)] = Label.NECK
        label[nose > 0.8] = Label.NOSE
        label[paint.scalp > 0.5] = Label.HAIR
        label = np.where(ears > 0.5, np.where(left, Label.EAR_LEFT, Label.EAR_RIGHT), label)
        label = np.where(paint.brow > 0.30, np.where(left, Label.BROW_LEFT, Label.BROW_RIGHT), label)
        label = np.where(paint.lips > 0.5, np.where(places[:, 1] > MOUTH_LINE, Label.LIP_UPPER, Label.LIP_LOWER), label)
        return np.where(paint.inside > 0.6, Label.MOUTH, label).astype(np.uint8)

    def _eyes(self, samples: shade.Samples) -> Floats:
        """Both eyes: each turned as its vertices are, a true sphere to the light."""
        figure = self.figure
        colour = np.zeros_like(samples.points)
        rest = figure.rig.template.numpy()
        eye = np.unique(figure.rig.faces.numpy()[(figure.rig.tissue == Tissue.EYE).numpy()])
        for side in (-1, 1):
            chosen = samples.places[:, 0] * side > 0
            if not chosen.any():
                continue
            vertices = eye[rest[eye, 0] * side > 0]
            at_rest = rest[vertices] - rest[vertices].mean(0)
            now = self.posed.vertices[vertices]
            centre = now.mean(0)
            u, _, vt = np.linalg.svd((now - centre).T @ (at_rest * [1, -1, -1]))
            turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
            part = samples.where(chosen)
            ball = unit(part.points - centre)
            gaze = unit((ball @ turn * [1, -1, -1]).astype(np.float32))
            part = shade.Samples(**{name: getattr(part, name) for name in shade.Samples.__slots__} | {"normals": ball})
            colour[chosen] = shade.shade_eye(part, gaze, figure.person.iris, self._open_sky(part))
        return colour

    def _open_sky(self, samples: shade.Samples) -> Floats:
        """Share (N,) of a few directions above and beside the eye that no lid or lash closes within 15 mm."""
        normal = samples.normals
        start = samples.points + 0.0008 * normal
        side = unit(np.cross(normal, np.array([0, 1, 0], np.float32)))
        up = np.cross(side, normal)
        free = np.zeros(len(normal), np.float32)
        looks = [(0.0, 0.0), (0.0, 0.9), (0.7, 0.6), (-0.7, 0.6), (0.9, -0.1), (-0.9, -0.1), (0.0, 1.8), (0.0, -0.9)]
        for across, upwards in looks:
            towards = unit((normal + across * side + upwards * up).astype(np.float32))
            free += ~self.rays.occluded(start.astype(np.float32), towards, 0.015)
        return np.asarray(free / len(looks), dtype=np.float32)


def _below_jaw(places: Floats) -> Bools:
    """Whether places (N, 3) of the template lie under the jaw's edge."""
    return np.asarray(places[:, 1] < JAW[0] + JAW[1] * places[:, 2])
