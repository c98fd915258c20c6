"""One frame: four rays a pixel, each to its own place on the lamp, and with the picture its exact truth.

Hair and lashes are cut out where a ray meets a gap between strands.

Legend: S side in pixels, R rays, N samples (rays that hit), V vertices of the rig.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.library.track import LANDMARKS
from pegasus_ray.rig.model import Pose, Tissue, surface
from pegasus_ray.schemas.parts import Label
from pegasus_ray.studio import shade
from pegasus_ray.studio.face_paint import FacePaint, Painted
from pegasus_ray.studio.figure import Figure, Posed
from pegasus_ray.studio.motion import Motion
from pegasus_ray.studio.noise import Floats, Noise, ripple, smoothstep
from pegasus_ray.studio.people import Colour, Person
from pegasus_ray.studio.piece import Ints, Material, unit
from pegasus_ray.studio.rays import Rays
from pegasus_ray.studio.surroundings import membership, occlusion
from pegasus_ray.studio.wear import cloth_depth

Bools = npt.NDArray[np.bool_]

WALL: Final[Colour] = (0.62, 0.66, 0.69)
GAPS: Final = 4  # how many layers of hair a ray may slip through
STEP: Final = np.float32(2e-5)  # metres, off a surface
JAW: Final = (-0.111, -0.37)  # y of the plane along the jaw's edge on the template: at z = 0, and a metre of z
MOUTH_LINE: Final = -0.0708  # y of the line between the lips on the template


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame with its truth."""

    image: npt.NDArray[np.uint8]  # (S, S, 3) RGB
    matte: npt.NDArray[np.uint8]  # (S, S)
    parts: npt.NDArray[np.uint8]  # (S, S) `Label`
    landmarks: Floats  # (478, 2) fractions of the side
    depth: Floats  # (S, S) metres, infinite where there is nobody
    normals: Floats  # (S, S, 3) camera space, zero where there is nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """A person before the camera, made ready once for any number of frames."""

    figure: Figure
    paint: FacePaint
    noise: Noise
    occlusion: Floats  # (N,) of the figure's vertices, 0–1
    lining: Bools  # (F,) of the figure's faces: the inside of the mouth
    membership: Floats  # (V, 3) how far a vertex of the rig belongs to nose, ears, neck
    size: int
    wall: Colour

    @staticmethod
    def of(person: Person, size: int, *, view: float = 0.40, wall: Colour = WALL, detail: float = 1.0) -> Studio:
        """Grows the person and measures how much of the surroundings each place of it sees.

        Args:
            person: who.
            size: S.
            view: metres across the picture at the head, which say how fine a detail may be.
            wall: colour of the background.
            detail: share of the ribbons of hair.
        """
        figure = Figure.of(person, detail=detail)
        tissue = figure.rig.tissue.numpy()
        return Studio(
            figure=figure,
            paint=FacePaint.of(person, view / (2 * size)),
            noise=Noise.of(person.seed),
            occlusion=occlusion(figure),
            lining=np.pad(tissue == Tissue.MOUTH, (0, len(figure.faces) - len(tissue))),
            membership=membership(figure),
            size=size,
            wall=wall,
        )

    def frame(
        self,
        motion: Motion,
        number: int,
    ) -> Frame:
        """One frame of a motion."""
        pose = Pose.still(motion.head[number : number + 1], motion.torso[number : number + 1])
        posed = self.figure.posed(motion.expression[number : number + 1], pose)
        return _Shot(self, posed, motion.camera).taken()


class _Shot:
    """One frame in the making."""

    def __init__(self, studio: Studio, posed: Posed, camera: torch.Tensor) -> None:
        self.studio, self.posed = studio, posed
        self.figure = studio.figure
        self.camera = camera.numpy()
        self.rays = Rays(posed.vertices, self.figure.faces)

    def taken(self) -> Frame:
        size = self.studio.size
        directions, lane = self._camera_rays()
        triangle, barycentric, distance = self._first_hits(directions)
        hit = np.flatnonzero(triangle >= 0)
        triangle, barycentric = triangle[hit], barycentric[hit]
        samples = self._samples(triangle, barycentric, directions[hit], lane[hit])
        colour, label = self._shaded(triangle, barycentric, samples)

        side = 2 * size
        light = shade.background(side, self.studio.wall).reshape(-1, 3)
        light[hit] = colour
        labels = np.zeros(side * side, np.uint8)
        labels[hit] = label
        depth = np.full(side * side, np.inf, np.float32)
        depth[hit] = (distance[hit, None] * directions[hit])[:, 2]
        normals = np.zeros((side * side, 3), np.float32)
        normals[hit] = samples.normals
        image = shade.develop(light).reshape(size, 2, size, 2, 3).mean((1, 3))
        cover = (labels > 0).reshape(size, 2, size, 2).mean((1, 3))
        return Frame(
            image=np.round(image * 255).astype(np.uint8),
            matte=np.round(cover * 255).astype(np.uint8),
            parts=_most_seen(labels.reshape(size, 2, size, 2)),
            landmarks=self._landmarks(),
            depth=depth.reshape(size, 2, size, 2).min((1, 3)),
            normals=unit(normals.reshape(size, 2, size, 2, 3).sum((1, 3)).astype(np.float32)),
        )

    def _camera_rays(self) -> tuple[Floats, Ints]:
        """Directions (R, 3) of the rays, row by row, and which of a pixel's four each is."""
        side = 2 * self.studio.size
        focal, x0, y0 = self.camera
        place = (np.arange(side, dtype=np.float32) + 0.5) / side
        x, y = np.meshgrid((place - x0) / focal, (place - y0) / focal)
        row, column = np.meshgrid(np.arange(side) % 2, np.arange(side) % 2, indexing="ij")
        return unit(np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)), (2 * row + column).ravel()

    def _first_hits(self, directions: Floats) -> tuple[Ints, Floats, Floats]:
        """What each ray sees: face (R,) or −1, barycentric (R, 3), distance (R,) in metres."""
        count = len(directions)
        faces = np.full(count, -1, np.int64)
        shares = np.zeros((count, 3), np.float32)
        far = np.zeros(count, np.float32)
        going = np.arange(count)
        for layer in range(GAPS + 1):
            origins = far[going, None] * directions[going]
            face, share, distance = self.rays.first(origins, directions[going])
            struck = face >= 0
            going, face, share, distance = going[struck], face[struck], share[struck], distance[struck]
            far[going] += distance
            solid = np.ones(len(face), bool) if layer == GAPS else self._solid(face, share, directions[going])
            faces[going[solid]], shares[going[solid]] = face[solid], share[solid]
            going = going[~solid]
            far[going] += STEP
            if not len(going):
                break
        return faces, shares, far

    def _solid(self, triangle: Ints, barycentric: Floats, directions: Floats) -> Bools:
        """Whether a hit counts: no gap between strands or lashes, nor the mouth's lining seen from behind, through a cheek."""
        material = self.figure.material[triangle]
        solid = np.ones(len(triangle), bool)
        for kind, rule in ((Material.HAIR, _in_strand), (Material.LASHES, _in_lash)):
            chosen = np.flatnonzero(material == kind)
            solid[chosen] = rule(self._mixed(self.figure.coordinates, triangle[chosen], barycentric[chosen]))
        lining = np.flatnonzero(self.studio.lining[triangle])
        a, b, c = np.moveaxis(self.posed.vertices[self.figure.faces[triangle[lining]]], 1, 0)
        solid[lining] = (np.cross(b - a, c - a) * directions[lining]).sum(1) < 0
        return solid

    def _mixed(self, values: Floats, triangle: Ints, barycentric: Floats) -> Floats:
        corners = self.figure.faces[triangle]
        mixed = values[corners[:, 0]] * _as(barycentric[:, 0], values)
        mixed += values[corners[:, 1]] * _as(barycentric[:, 1], values)
        mixed += values[corners[:, 2]] * _as(barycentric[:, 2], values)
        return np.asarray(mixed, dtype=np.float32)

    def _samples(self, triangle: Ints, barycentric: Floats, directions: Floats, lane: Ints) -> shade.Samples:
        figure, posed = self.figure, self.posed
        view = -directions
        points = self._mixed(posed.vertices, triangle, barycentric)
        normals = unit(self._mixed(posed.normals, triangle, barycentric))
        hair = figure.material[triangle] == Material.HAIR
        away = ((normals * view).sum(1) < 0) & ~hair
        normals[away] = unit(normals[away] - 1.02 * (normals[away] * view[away]).sum(1, keepdims=True) * view[away])
        lamps = shade.lamp_directions()[lane]
        start = points + (np.where(hair, 0.0060, 0.0012)[:, None] * normals + 0.001 * view).astype(np.float32)
        facing = (normals * lamps).sum(1) > -0.35
        lit = np.zeros(len(points), np.float32)
        lit[facing] = ~self.rays.occluded(start[facing].astype(np.float32), lamps[facing], 0.6)
        return shade.Samples(
            points=points,
            normals=normals,
            view=view,
            tangents=unit(self._mixed(posed.tangents, triangle, barycentric)),
            places=self._mixed(figure.places, triangle, barycentric),
            coordinates=self._mixed(figure.coordinates, triangle, barycentric),
            occlusion=self._mixed(self.studio.occlusion[:, None], triangle, barycentric)[:, 0],
            lit=lit,
        )

    def _shaded(
        self, triangle: Ints, barycentric: Floats, samples: shade.Samples
    ) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Colour (N, 3) in linear light and `Label` (N,) of every sample."""
        figure, person, noise = self.figure, self.figure.person, self.studio.noise
        material = figure.material[triangle]
        colour = np.zeros((len(triangle), 3), np.float32)
        label = np.zeros(len(triangle), np.uint8)
        left = samples.places[:, 0] < 0  # of the picture

        for kind in Material:
            chosen = np.flatnonzero(material == kind)
            if not len(chosen):
                continue
            part = samples.where(chosen)
            match kind:
                case Material.SKIN:
                    colour[chosen], label[chosen] = self._shaded_body(triangle[chosen], barycentric[chosen], part)
                case Material.EYE:
                    colour[chosen] = self._shaded_eyes(part)
                    label[chosen] = np.where(left[chosen], Label.EYE_LEFT, Label.EYE_RIGHT)
                case Material.TEETH:
                    upper = figure.places[figure.faces[triangle[chosen]]].mean(1)[:, 1] > -0.0672
                    colour[chosen], label[chosen] = shade.shade_teeth(part, upper), Label.MOUTH
                case Material.TONGUE:
                    colour[chosen], label[chosen] = shade.shade_tongue(part, noise), Label.MOUTH
                case Material.LASHES:
                    colour[chosen] = shade.shade_lashes(part)
                    label[chosen] = Label.SKIN
                case Material.HAIR:
                    beard = self._is_beard(triangle[chosen])
                    colour[chosen] = shade.shade_hair(part, person.hair.colour)
                    if person.beard is not None and beard.any():
                        colour[chosen[beard]] = shade.shade_hair(part.where(beard), person.beard.colour)
                    label[chosen] = np.where(beard, Label.SKIN, Label.HAIR)
                case Material.CLOTH:
                    above = np.full(len(chosen), 0.02, np.float32)
                    whole = np.ones(len(chosen), bool)
                    colour[chosen] = shade.shade_cloth(part, person.cloth, above, noise, collar=whole)
                    label[chosen] = Label.CLOTH
                case Material.HAT:
                    if person.hat is not None:
                        colour[chosen], label[chosen] = shade.shade_hat(part, person.hat, noise), Label.HAT
        return colour, label

    def _is_beard(self, triangle: Ints) -> Bools:
        centre = self.figure.places[self.figure.faces[triangle]].mean(1)
        return np.asarray((self.figure.person.beard is not None) & (centre[:, 1] < -0.04) & (centre[:, 2] > -0.06))

    def _shaded_body(
        self, triangle: Ints, barycentric: Floats, samples: shade.Samples
    ) -> tuple[Floats, npt.NDArray[np.uint8]]:
        """Skin, lips, mouth and cloth: all that is the rig's body."""
        figure, person, noise = self.figure, self.figure.person, self.studio.noise
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
        paint = self.studio.paint(skin.places, uvs[bare])
        colour[bare] = shade.shade_skin(skin, paint, noise)
        label[bare] = self._skin_labels(paint, skin.places, triangle[bare], barycentric[bare])
        return colour, label

    def _skin_labels(
        self, paint: Painted, places: Floats, triangle: Ints, barycentric: Floats
    ) -> npt.NDArray[np.uint8]:
        left = places[:, 0] < 0
        nose, ears, neck = self._mixed(self.studio.membership, triangle, barycentric).T
        label = np.full(len(places), Label.SKIN, np.uint8)
        below_jaw = places[:, 1] < JAW[0] + JAW[1] * places[:, 2]
        label[(neck > 0.5) | below_jaw] = Label.NECK
        label[nose > 0.8] = Label.NOSE
        label[paint.scalp > 0.5] = Label.HAIR
        label = np.where(ears > 0.5, np.where(left, Label.EAR_LEFT, Label.EAR_RIGHT), label)
        label = np.where(paint.brow > 0.30, np.where(left, Label.BROW_LEFT, Label.BROW_RIGHT), label)
        label = np.where(paint.lips > 0.5, np.where(places[:, 1] > MOUTH_LINE, Label.LIP_UPPER, Label.LIP_LOWER), label)
        return np.where(paint.inside > 0.6, Label.MOUTH, label).astype(np.uint8)

    def _shaded_eyes(self, samples: shade.Samples) -> Floats:
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

    def _landmarks(self) -> Floats:
        rig = self.figure.rig
        body = torch.from_numpy(self.posed.vertices[: len(rig.template)])
        points = surface(body, rig.faces, rig.landmarks.triangles, rig.landmarks.barycentric).numpy()
        focal, x0, y0 = self.camera
        projected = focal * points[:, :2] / points[:, 2:] + np.array([x0, y0])
        return np.asarray(projected.reshape(LANDMARKS, 2), dtype=np.float32)


def _as(share: Floats, values: Floats) -> Floats:
    return share[:, None] if values.ndim == 2 else share


def _in_strand(coordinates: Floats) -> Bools:
    """Ragged edges and ends of a ribbon of hair."""
    across, along, lane = coordinates.T
    number = np.round(lane).astype(np.int64) * 3
    edge = np.abs(across) < 1 - 0.55 * ripple(along * 7, number + (across > 0))
    comb = ripple(across * 2.6 + 5, number + 2)
    return np.asarray(
        edge & (comb > 0.95 * smoothstep(0.70, 1.02, along)) & (comb > 0.75 * smoothstep(0.06, 0.0, along))
    )


def _in_lash(coordinates: Floats) -> Bools:
    """Single lashes of the upper lid on the sheet that carries them: a dark line at the root, thin and fewer outwards."""
    across, along, _ = coordinates.T
    place = across / 0.0010 + 0.8 * along
    within = np.abs(place - np.round(place)) * 2
    length = 0.31 + 0.24 * ripple(np.floor(place + 0.5), np.zeros(len(place), np.int64))
    lash = (within < 0.75 - 0.8 * along / length) & (along < length)
    return np.asarray(lash | (along < 0.10))


def _most_seen(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The label most of a pixel's rays saw, (S, S) from (S, 2, S, 2); background only where all four missed."""
    four = labels.transpose(0, 2, 1, 3).reshape(labels.shape[0], labels.shape[2], 4)
    same = (four[..., :, None] == four[..., None, :]).sum(-1) * (four > 0)
    return np.asarray(np.take_along_axis(four, same.argmax(-1)[..., None], -1)[..., 0])
