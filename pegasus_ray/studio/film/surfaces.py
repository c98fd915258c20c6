"""The colour and the label of the points that rays meet, material by material.

Legend: N samples, M samples of one material, V vertices of the rig, F faces of the figure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.rig.model import Tissue
from pegasus_ray.schemas.parts import Label
from pegasus_ray.studio.arrays import Bools, Bytes, Floats, Ints
from pegasus_ray.studio.figure.assemble import Figure, PosedFigure
from pegasus_ray.studio.figure.clothes import cloth_depth
from pegasus_ray.studio.figure.face_paint import FacePaint, PaintedSkin
from pegasus_ray.studio.figure.piece import Material, unit
from pegasus_ray.studio.film import shade
from pegasus_ray.studio.film.tracing import lash_opacity, strand_opacity
from pegasus_ray.studio.film.vertex_maps import ambient_occlusion, part_membership
from pegasus_ray.studio.noise import Noise
from pegasus_ray.studio.person import Person

JAW_EDGE_Y_METRES: Final = -0.111  # of the plane along the jaw's edge on the template, at z = 0
JAW_EDGE_SLOPE: Final = -0.37  # of the same plane: metres of y a metre of z
MOUTH_LINE_Y_METRES: Final = -0.0708  # of the line between the lips on the template
TEETH_MEET_Y_METRES: Final = -0.0672  # of the place on the template where the rows of teeth meet
CLOTH_TOP_Y_METRES: Final = -0.09  # on the template: above it there is no cloth
SHADOW_REACH_METRES: Final = 0.6  # objects further away throw no shadow
SHADOW_LIFT_METRES: Final = 0.0012  # shadow rays start this far off the surface
HAIR_SHADOW_LIFT_METRES: Final = 0.0060  # the same for strands, which would else shadow one another
EYE_OCCLUSION_REACH_METRES: Final = 0.015  # lids and lashes within it shade the eye
OPEN_SKY_DIRECTIONS: Final = (
    (0.0, 0.0), (0.0, 0.9), (0.7, 0.6), (-0.7, 0.6), (0.9, -0.1), (-0.9, -0.1), (0.0, 1.8), (0.0, -0.9),
)  # fmt: skip
"""Directions in which lids may hide the light from an eye: the normal plus these multiples of unit vectors across and up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """The part of a figure's look that does not depend on the frame; it is computed once."""

    figure: Figure
    paint: FacePaint
    noise: Noise
    per_vertex: Floats  # (N, 7) of the figure's vertices: places, coordinates, ambient occlusion
    lining: Bools  # (F,) which faces of the figure are the inside of the mouth
    membership: Floats  # (V, 3) `part_membership`: nose, ears, neck
    footprint: float  # metres on the head between neighbouring rays

    @staticmethod
    def of(person: Person, footprint: float, *, detail: float = 1.0) -> Appearance:
        """Builds the person's meshes and paint, and computes the ambient occlusion."""
        figure = Figure.of(person, detail=detail)
        tissue = figure.rig.tissue.numpy()
        return Appearance(
            figure=figure,
            paint=FacePaint.of(person, footprint),
            noise=Noise.of(person.seed),
            per_vertex=np.concatenate([figure.places, figure.coordinates, ambient_occlusion(figure)[:, None]], 1),
            lining=np.pad(tissue == Tissue.MOUTH, (0, len(figure.faces) - len(tissue))),
            membership=part_membership(figure.rig),
            footprint=footprint,
        )


class Surfaces:
    """The surface of a figure in one frame: opacity, colour and label of any points on it."""

    def __init__(self, appearance: Appearance, posed: PosedFigure, rays: MeshTracer) -> None:
        self.appearance, self.figure, self.posed, self.rays = appearance, appearance.figure, posed, rays
        self.posed_per_vertex = np.concatenate([posed.vertices, posed.normals, posed.tangents], 1)

    def interpolate(self, values: Floats, triangle: Ints, barycentric: Floats) -> Floats:
        """Values (vertices, C) of the vertices interpolated at places of the surface, (N, C)."""
        corners = self.figure.faces[triangle]
        mixed = values[corners[:, 0]] * barycentric[:, :1]
        mixed += values[corners[:, 1]] * barycentric[:, 1:2]
        mixed += values[corners[:, 2]] * barycentric[:, 2:]
        return np.asarray(mixed, dtype=np.float32)

    def opacity(self, triangle: Ints, barycentric: Floats, directions: Floats) -> Floats:
        """Opacity of the surface at each hit, (N,) 0–1.

        Hair and lashes have gaps. The mouth's lining is transparent from behind, because it would show through a cheek.
        """
        figure, appearance = self.figure, self.appearance
        material = figure.material[triangle]
        taken = np.ones(len(triangle), np.float32)
        for kind in (Material.HAIR, Material.BEARD, Material.LASHES):
            chosen = np.flatnonzero(material == kind)
            if len(chosen):
                coordinates = self.interpolate(figure.coordinates, triangle[chosen], barycentric[chosen])
                if kind is Material.LASHES:
                    taken[chosen] = lash_opacity(coordinates)
                else:
                    taken[chosen] = strand_opacity(
                        coordinates, appearance.footprint / figure.half_width[triangle[chosen]]
                    )
        lining = np.flatnonzero(appearance.lining[triangle])
        a, b, c = np.moveaxis(self.posed.vertices[figure.faces[triangle[lining]]], 1, 0)
        taken[lining] = (np.cross(b - a, c - a) * directions[lining]).sum(1) < 0
        return taken

    def shading_samples(
        self,
        triangle: Ints,  # (N,)
        barycentric: Floats,  # (N, 3)
        view: Floats,  # (N, 3) towards the camera
        lights: Floats,  # (L, N, 3) directions to points on the key light
    ) -> shade.ShadingSamples:
        """All that shading needs to know of points; shadows are traced to the key light."""
        figure = self.figure
        moving = self.interpolate(self.posed_per_vertex, triangle, barycentric)
        points, normals, tangents = moving[:, :3], unit(moving[:, 3:6]), unit(moving[:, 6:])
        fixed = self.interpolate(self.appearance.per_vertex, triangle, barycentric)
        hair = np.isin(figure.material[triangle], (Material.HAIR, Material.BEARD))
        away = ((normals * view).sum(1) < 0) & ~hair
        normals[away] = unit(normals[away] - 1.02 * (normals[away] * view[away]).sum(1, keepdims=True) * view[away])
        lift = np.where(hair, HAIR_SHADOW_LIFT_METRES, SHADOW_LIFT_METRES)[:, None].astype(np.float32)
        start = (points + lift * normals + 0.001 * view).astype(np.float32)
        lit = np.zeros(len(points), np.float32)
        for towards in lights:
            facing = np.flatnonzero((normals * towards).sum(1) > -0.35)
            lit[facing] += ~self.rays.occluded(start[facing], towards[facing], SHADOW_REACH_METRES)
        return shade.ShadingSamples(
            points=points,
            normals=normals,
            view=view,
            tangents=tangents,
            places=fixed[:, :3],
            coordinates=fixed[:, 3:6],
            exposure=fixed[:, 6],
            lit=lit / np.float32(len(lights)),
        )

    def colour_and_label(
        self, triangle: Ints, barycentric: Floats, samples: shade.ShadingSamples
    ) -> tuple[Floats, Bytes]:
        """Colour (N, 3) in linear light and `Label` (N,) of samples."""
        figure, person, noise = self.figure, self.figure.person, self.appearance.noise
        material = figure.material[triangle]
        colour = np.zeros((len(triangle), 3), np.float32)
        label = np.zeros(len(triangle), np.uint8)
        for kind in Material:
            chosen = np.flatnonzero(material == kind)
            if not len(chosen):
                continue
            part = samples.select(chosen)
            left = part.places[:, 0] < 0  # of the picture
            match kind:
                case Material.SKIN:
                    colour[chosen], label[chosen] = self._shade_body(triangle[chosen], barycentric[chosen], part)
                case Material.EYE:
                    colour[chosen] = self._shade_eyes(part)
                    label[chosen] = np.where(left, Label.EYE_LEFT, Label.EYE_RIGHT)
                case Material.TEETH:
                    upper = figure.places[figure.faces[triangle[chosen]]].mean(1)[:, 1] > TEETH_MEET_Y_METRES
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
                    colour[chosen], label[chosen] = shade.shade_collar(part, person.cloth, noise), Label.CLOTH
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

    def _shade_body(self, triangle: Ints, barycentric: Floats, samples: shade.ShadingSamples) -> tuple[Floats, Bytes]:
        """Colour and label of the body: skin, lips, the inside of the mouth, cloth."""
        figure, person, noise = self.figure, self.figure.person, self.appearance.noise
        uvs = np.einsum("nc,ncd->nd", barycentric, figure.rig.uvs.numpy()[triangle]).astype(np.float32)
        depth = cloth_depth(person.cloth.style, samples.places)
        clothed = (depth > 0) & (samples.places[:, 1] < CLOTH_TOP_Y_METRES)
        colour = np.empty((len(triangle), 3), np.float32)
        label = np.full(len(triangle), Label.CLOTH, np.uint8)
        covered, bare = np.flatnonzero(clothed), np.flatnonzero(~clothed)
        if len(covered):
            colour[covered] = shade.shade_cloth(samples.select(clothed), person.cloth, depth[covered], noise)
        skin = samples.select(~clothed)
        paint = self.appearance.paint(skin.places, uvs[bare])
        colour[bare] = shade.shade_skin(skin, paint, noise)
        label[bare] = self._skin_labels(paint, skin.places, triangle[bare], barycentric[bare])
        return colour, label

    def _skin_labels(self, paint: PaintedSkin, places: Floats, triangle: Ints, barycentric: Floats) -> Bytes:
        """Labels (N,) of bare skin. Later assignments override earlier ones."""
        left = places[:, 0] < 0
        nose, ears, neck = self.interpolate(self.appearance.membership, triangle, barycentric).T
        label = np.full(len(places), Label.SKIN, np.uint8)
        label[(neck > 0.5) | _below_jaw(places)] = Label.NECK
        label[nose > 0.8] = Label.NOSE
        label[paint.scalp > 0.5] = Label.HAIR
        label = np.where(ears > 0.5, np.where(left, Label.EAR_LEFT, Label.EAR_RIGHT), label)
        label = np.where(paint.brow > 0.30, np.where(left, Label.BROW_LEFT, Label.BROW_RIGHT), label)
        label = np.where(
            paint.lips > 0.5, np.where(places[:, 1] > MOUTH_LINE_Y_METRES, Label.LIP_UPPER, Label.LIP_LOWER), label
        )
        return np.where(paint.inside > 0.6, Label.MOUTH, label).astype(np.uint8)

    def _shade_eyes(self, samples: shade.ShadingSamples) -> Floats:
        """Colour of the eyes. Each is turned as its vertices are (a least-squares rotation) and lit as a true sphere."""
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
            part = samples.select(chosen)
            ball = unit(part.points - centre)
            gaze = unit((ball @ turn * [1, -1, -1]).astype(np.float32))
            part = replace(part, normals=ball)
            colour[chosen] = shade.shade_eye(part, gaze, figure.person.iris, self._open_sky(part))
        return colour

    def _open_sky(self, samples: shade.ShadingSamples) -> Floats:
        """Share (N,) of `OPEN_SKY_DIRECTIONS` in which no lid or lash lies nearby."""
        normal = samples.normals
        start = samples.points + 0.0008 * normal
        side = unit(np.cross(normal, np.array([0, 1, 0], np.float32)))
        up = np.cross(side, normal)
        free = np.zeros(len(normal), np.float32)
        for across, upwards in OPEN_SKY_DIRECTIONS:
            towards = unit((normal + across * side + upwards * up).astype(np.float32))
            free += ~self.rays.occluded(start.astype(np.float32), towards, EYE_OCCLUSION_REACH_METRES)
        return np.asarray(free / len(OPEN_SKY_DIRECTIONS), dtype=np.float32)


def _below_jaw(places: Floats) -> Bools:
    """Which places (N, 3) of the template lie below the jaw's edge, (N,)."""
    return np.asarray(places[:, 1] < JAW_EDGE_Y_METRES + JAW_EDGE_SLOPE * places[:, 2])
