"""One frame: a ray a pixel, four where anything changes, and with the picture its exact truth.

What decides where four rays are cast lies within three pixels, so that a change of one part leaves distant pixels alone.

Legend: S side in pixels, P pixels, R rays, N samples (a surface that takes a share of a ray), V vertices of the rig.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pegasus_ray.library.track import LANDMARKS
from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.rig.model import Pose, surface
from pegasus_ray.schemas.parts import Label
from pegasus_ray.studio.figure.figure import Posed
from pegasus_ray.studio.figure.piece import Ints, Material, unit
from pegasus_ray.studio.film import shade
from pegasus_ray.studio.film.surfaces import Looks, Surfaces
from pegasus_ray.studio.film.tracing import Bools, Panes, Seen, look
from pegasus_ray.studio.motion import Motion
from pegasus_ray.studio.noise import Floats
from pegasus_ray.studio.people import Colour, Person

WALL: Final[Colour] = (0.62, 0.66, 0.69)
CENTRE: Final = np.array([[0.5, 0.5]], np.float32)
QUARTERS: Final = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]], np.float32)
CONTRAST: Final = 0.07  # of neighbouring pixels, 0–1, beyond which four rays are cast
DETAILED: Final = (Material.EYE, Material.LASHES, Material.HAIR, Material.BEARD, Material.TEETH, Material.TONGUE,
                   Material.FRAME, Material.LENS)  # fmt: skip
CLASSES: Final = len(Label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame with its truth."""

    image: npt.NDArray[np.uint8]  # (S, S, 3) RGB
    own: npt.NDArray[np.uint8]  # (S, S, 3) the same without the wall's share in the person's soft edge
    matte: npt.NDArray[np.uint8]  # (S, S)
    parts: npt.NDArray[np.uint8]  # (S, S) `Label`: what covers most of the pixel's share of the person
    landmarks: Floats  # (478, 2) fractions of the side
    depth: Floats  # (S, S) metres, infinite where there is nobody
    normals: Floats  # (S, S, 3) camera space, zero where there is nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """A person before the camera, made ready once for any number of frames."""

    looks: Looks
    size: int
    wall: Floats  # (S·S, 3) linear light

    @staticmethod
    def of(person: Person, size: int, *, view: float = 0.40, wall: Colour = WALL, detail: float = 1.0) -> Studio:
        """Makes a person ready.

        Args:
            person: who.
            size: S.
            view: metres across the picture at the head, which say how fine a detail may be.
            wall: colour of the background.
            detail: share of the ribbons of hair.
        """
        looks = Looks.of(person, view / (2 * size), detail=detail)
        return Studio(looks=looks, size=size, wall=shade.background(size, wall).reshape(-1, 3))

    def frame(self, motion: Motion, number: int) -> Frame:
        """One frame of a motion."""
        pose = Pose.still(motion.head[number : number + 1], motion.torso[number : number + 1])
        posed = self.looks.figure.posed(motion.expression[number : number + 1], pose)
        return _Shot(self, posed, motion.camera.numpy()).taken()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exposure:
    """What pixels see."""

    colour: Floats  # (P, 3) sRGB, 0–1
    own: Floats  # (P, 3) the person's share of that: over black
    votes: Floats  # (P, 19) share of the pixel that each `Label` covers; the background's is left out
    depth: Floats  # (P,)
    normals: Floats  # (P, 3) sums

    @staticmethod
    def dark(pixels: int) -> _Exposure:
        """Nothing seen yet."""
        zero = np.zeros((pixels, 3), np.float32)
        votes, depth = np.zeros((pixels, CLASSES), np.float32), np.full(pixels, np.inf, np.float32)
        return _Exposure(colour=zero, own=zero.copy(), votes=votes, depth=depth, normals=zero.copy())

    def put(self, pixels: Ints, other: _Exposure) -> None:
        """Replaces some of the pixels."""
        for name in _Exposure.__slots__:
            getattr(self, name)[pixels] = getattr(other, name)

    @property
    def label(self) -> npt.NDArray[np.uint8]:
        """What covers most of each pixel, (P,): background where that is not the person."""
        return np.where(self.votes.sum(1) > 0.5, self.votes.argmax(1), Label.BACKGROUND).astype(np.uint8)


class _Shot:
    """One frame in the making."""

    def __init__(self, studio: Studio, posed: Posed, camera: Floats) -> None:
        self.studio, self.posed, self.camera = studio, posed, camera
        self.figure = studio.looks.figure
        glass = np.flatnonzero(self.figure.material == Material.LENS)  # the last of the faces
        faces = self.figure.faces
        self.rays = MeshTracer(posed.vertices, faces[: len(faces) - len(glass)])
        panes = Panes(rays=MeshTracer(posed.vertices, faces[glass]), faces=glass, opacity=shade.LENS_OPACITY)
        self.panes = panes if len(glass) else None
        self.surfaces = Surfaces(studio.looks, posed, self.rays)

    def taken(self) -> Frame:
        size = self.studio.size
        film = _Exposure.dark(size * size)
        fine = self._first_look(film)
        again = np.flatnonzero(fine | _uncertain(film, fine, size))
        directions = self._directions(again, QUARTERS)
        lamp = np.tile(np.arange(len(QUARTERS)), len(again))  # each of a pixel's rays asks its own place on the lamp
        seen = look(self.rays, directions, self.surfaces.opacity, self.panes)
        film.put(again, self._exposed(again, directions, seen, shade.lamp_directions()[lamp[seen.ray]][None]))
        opacity = np.minimum(film.votes.sum(1), 1)
        matte = np.round(opacity * 255).astype(np.uint8)
        own = np.where(matte[:, None] > 0, film.own / np.maximum(opacity, 1e-3)[:, None], film.colour)
        return Frame(
            image=np.round(film.colour * 255).astype(np.uint8).reshape(size, size, 3),
            own=np.round(np.clip(own, 0, 1) * 255).astype(np.uint8).reshape(size, size, 3),
            matte=matte.reshape(size, size),
            parts=np.where(matte > 127, film.votes.argmax(1), Label.BACKGROUND).astype(np.uint8).reshape(size, size),
            landmarks=self._landmarks(),
            depth=film.depth.reshape(size, size),
            normals=unit(film.normals).reshape(size, size, 3),
        )

    def _first_look(self, film: _Exposure) -> Bools:
        """One ray a pixel: exposes the plain pixels, and says which others (P,) have something fine in or beside them."""
        size = self.studio.size
        every = np.arange(size * size)
        directions = self._directions(every, CENTRE)
        triangle, barycentric, distance = self.rays.first_along(np.zeros_like(directions), directions)
        hit = triangle >= 0
        detailed = hit & (np.isin(self.figure.material[triangle], DETAILED) | self.studio.looks.lining[triangle])
        if self.panes is not None:
            detailed |= self.panes.rays.first_along(np.zeros_like(directions), directions)[0] >= 0
        near = cv2.dilate(detailed.astype(np.uint8).reshape(size, size), np.ones((5, 5), np.uint8)).ravel() > 0
        plain = np.flatnonzero(~near)
        ray = np.flatnonzero(hit[plain])
        met = plain[ray]
        seen = Seen(
            ray=ray,
            triangle=triangle[met],
            barycentric=barycentric[met],
            distance=distance[met],
            share=np.ones(len(met), np.float32),
        )
        towards = shade.lamp_directions()
        lamps = np.broadcast_to(towards[:, None], (len(towards), len(met), 3))
        film.put(plain, self._exposed(plain, directions[plain], seen, lamps))
        return np.asarray(near, dtype=np.bool_)

    def _exposed(self, pixels: Ints, directions: Floats, seen: Seen, lamps: Floats) -> _Exposure:
        """What pixels (P,) see, each by the same number of rays (R, 3); `lamps` (L, N, 3) as `Surfaces.samples` wants them."""
        count, each = len(pixels), len(directions) // max(len(pixels), 1)
        samples = self.surfaces.samples(seen.triangle, seen.barycentric, -directions[seen.ray], lamps)
        colour, label = self.surfaces.shaded(seen.triangle, seen.barycentric, samples)
        pixel, share = seen.ray // max(each, 1), seen.share / np.float32(max(each, 1))
        light = _summed(seen.ray, seen.share[:, None] * colour, count * each)
        taken = np.bincount(seen.ray, seen.share, count * each).astype(np.float32)[:, None]
        alone: Floats = np.asarray(light / np.maximum(taken, 1e-4), dtype=np.float32)
        own = np.asarray(taken * shade.develop(alone), dtype=np.float32)
        light += (1 - taken) * np.repeat(self.studio.wall[pixels], each, 0)
        depth = np.full(count, np.inf, np.float32)
        firm = seen.share > 0.1
        np.minimum.at(depth, pixel[firm], (seen.distance * directions[seen.ray, 2])[firm])
        return _Exposure(
            colour=shade.develop(light).reshape(count, each, 3).mean(1),
            own=own.reshape(count, each, 3).mean(1),
            votes=np.bincount(pixel * CLASSES + label, share, count * CLASSES).astype(np.float32).reshape(-1, CLASSES),
            depth=depth,
            normals=_summed(pixel, share[:, None] * samples.normals, count),
        )

    def _directions(self, pixels: Ints, offsets: Floats) -> Floats:
        """Directions (P·K, 3) of rays through places of pixels."""
        size = self.studio.size
        focal, x0, y0 = self.camera
        corner = np.stack([pixels % size, pixels // size], 1).astype(np.float32)
        place = (corner[:, None] + offsets[None]).reshape(-1, 2) / size
        x, y = (place[:, 0] - x0) / focal, (place[:, 1] - y0) / focal
        return unit(np.stack([x, y, np.ones_like(x)], -1))

    def _landmarks(self) -> Floats:
        rig = self.figure.rig
        body = torch.from_numpy(self.posed.vertices[: len(rig.template)])
        points = surface(body, rig.faces, rig.landmarks.triangles, rig.landmarks.barycentric).numpy()
        focal, x0, y0 = self.camera
        projected = focal * points[:, :2] / points[:, 2:] + np.array([x0, y0])
        return np.asarray(projected.reshape(LANDMARKS, 2), dtype=np.float32)


def _summed(place: Ints, values: Floats, count: int) -> Floats:
    """Sums (count, C) of values (N, C) by where they belong."""
    return np.stack([np.bincount(place, values[:, axis], count) for axis in range(values.shape[1])], 1).astype(
        np.float32
    )


def _uncertain(film: _Exposure, unknown: Bools, size: int) -> Bools:
    """Which of the pixels (P,) exposed so far need more rays: edges of parts and of light, next to none that is unknown."""
    square = np.ones((3, 3), np.uint8)
    values = np.concatenate([film.colour / CONTRAST, film.label[:, None] * np.float32(2)], 1)
    dark, bright = np.where(unknown[:, None], 1e9, values), np.where(unknown[:, None], -1e9, values)
    lowest = [cv2.erode(dark[:, channel].reshape(size, size), square) for channel in range(4)]
    highest = [cv2.dilate(bright[:, channel].reshape(size, size), square) for channel in range(4)]
    return np.asarray(((np.stack(highest) - np.stack(lowest)) > 1).any(0).ravel())
