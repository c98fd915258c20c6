"""Renders one frame and its exact ground truth: one ray a pixel, four where neighbouring pixels differ.

Whether a pixel gets four rays depends on what lies within three pixels of it, so a change of one part of a person leaves distant
pixels as they are.

Legend: S side in pixels, P pixels, R rays, N samples (surfaces that rays meet, each with its blending weight), L points
on the key light.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch

from pegasus_ray.library.track import LANDMARKS
from pegasus_ray.render.mesh import MeshTracer
from pegasus_ray.rig.model import Pose, interpolate_on_surface
from pegasus_ray.schemas.parts import Label
from pegasus_ray.studio.arrays import Bools, Bytes, Floats, Ints
from pegasus_ray.studio.figure.assemble import PosedFigure
from pegasus_ray.studio.figure.piece import Material, unit
from pegasus_ray.studio.film import shade
from pegasus_ray.studio.film.surfaces import Appearance, Surfaces
from pegasus_ray.studio.film.tracing import Lenses, RaySamples, trace
from pegasus_ray.studio.motion import Motion
from pegasus_ray.studio.person import Colour, Person

WALL: Final[Colour] = (0.62, 0.66, 0.69)  # sRGB, of the background
PICTURE_WIDTH_METRES: Final = 0.40  # across the picture at the head
PIXEL_CENTRE: Final = np.array([[0.5, 0.5]], np.float32)  # pixels from the pixel's corner, where its one ray passes
PIXEL_QUARTERS: Final = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]], np.float32)  # four rays
MAX_CONTRAST: Final = 0.07  # 0–1, between neighbouring pixels: where it is exceeded, four rays are cast
MIN_DEPTH_SHARE: Final = 0.1  # least blending weight with which a surface counts for the depth
DETAILED_MATERIALS: Final = (Material.EYE, Material.LASHES, Material.HAIR, Material.BEARD, Material.TEETH, Material.TONGUE,
                             Material.FRAME, Material.LENS)  # fmt: skip
"""Materials with detail finer than a pixel, which always get four rays."""
LABELS: Final = len(Label)  # number of classes in a part map


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One frame and its truth."""

    image: Bytes  # (S, S, 3) RGB
    own: Bytes  # (S, S, 3) RGB; in the person's soft edge the person's colour alone, without the wall's
    matte: Bytes  # (S, S)
    parts: Bytes  # (S, S) `Label` of what covers most of the pixel's share of the person
    landmarks: Floats  # (478, 2) fractions of the side
    depth: Floats  # (S, S) metres, infinite where there is nobody
    normals: Floats  # (S, S, 3) camera space, zero where there is nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonRenderer:
    """A person before the camera, prepared once for any number of frames."""

    appearance: Appearance
    size: int
    wall: Floats  # (S·S, 3) linear light

    @staticmethod
    def of(person: Person, size: int, *, wall: Colour = WALL, detail: float = 1.0) -> PersonRenderer:
        """Prepares a person.

        Args:
            person: whom to render.
            size: S.
            wall: colour of the background, sRGB.
            detail: share of the hair's ribbons that are made; fewer are wider.
        """
        appearance = Appearance.of(person, PICTURE_WIDTH_METRES / (2 * size), detail=detail)
        return PersonRenderer(appearance=appearance, size=size, wall=shade.wall_light(size, wall).reshape(-1, 3))

    def render(self, motion: Motion, number: int) -> Frame:
        """One frame of a motion."""
        pose = Pose.still(motion.head[number : number + 1], motion.torso[number : number + 1])
        posed = self.appearance.figure.posed(motion.expression[number : number + 1], pose)
        return _FrameRenderer(self, posed, motion.camera.numpy()).frame()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pixels:
    """What pixels see, each through one ray or four."""

    colour: Floats  # (P, 3) sRGB, 0–1
    own: Floats  # (P, 3) the person alone, composited on black
    votes: Floats  # (P, 19) share of the pixel that each `Label` covers; the rest is background
    depth: Floats  # (P,) metres
    normals: Floats  # (P, 3) sums over the samples, not of unit length

    @staticmethod
    def empty(pixels: int) -> _Pixels:
        """Pixels that have seen nothing yet."""
        zero = np.zeros((pixels, 3), np.float32)
        votes, depth = np.zeros((pixels, LABELS), np.float32), np.full(pixels, np.inf, np.float32)
        return _Pixels(colour=zero, own=zero.copy(), votes=votes, depth=depth, normals=zero.copy())

    def replace(self, pixels: Ints, other: _Pixels) -> None:
        """Replaces the pixels of these numbers."""
        for name in _Pixels.__slots__:
            getattr(self, name)[pixels] = getattr(other, name)

    @property
    def label(self) -> Bytes:
        """`Label` of what covers most of each pixel, (P,): background where the person covers half of it or less."""
        return np.where(self.votes.sum(1) > 0.5, self.votes.argmax(1), Label.BACKGROUND).astype(np.uint8)


class _FrameRenderer:
    """Renders one frame."""

    def __init__(self, renderer: PersonRenderer, posed: PosedFigure, camera: Floats) -> None:
        self.renderer, self.posed, self.camera = renderer, posed, camera
        self.figure = renderer.appearance.figure
        glass = np.flatnonzero(self.figure.material == Material.LENS)  # the last of the faces
        faces = self.figure.faces
        self.rays = MeshTracer(posed.vertices, faces[: len(faces) - len(glass)])
        lenses = Lenses(rays=MeshTracer(posed.vertices, faces[glass]), faces=glass, opacity=shade.LENS_OPACITY)
        self.lenses = lenses if len(glass) else None
        self.surfaces = Surfaces(renderer.appearance, posed, self.rays)

    def frame(self) -> Frame:
        """Render the frame: pixels without fine detail by one ray each, then all others by four."""
        size = self.renderer.size
        canvas = _Pixels.empty(size * size)
        fine = self._render_plain_pixels(canvas)
        again = np.flatnonzero(fine | _need_more_rays(canvas, fine, size))
        directions = self._directions(again, PIXEL_QUARTERS)
        light_point = np.tile(np.arange(len(PIXEL_QUARTERS)), len(again))  # a different one for each ray of a pixel
        seen = trace(self.rays, directions, self.surfaces.opacity, self.lenses)
        lights = shade.key_light_directions()[light_point[seen.ray]][None]
        canvas.replace(again, self._render_pixels(again, directions, seen, lights))
        opacity = np.minimum(canvas.votes.sum(1), 1)
        matte = np.round(opacity * 255).astype(np.uint8)
        own = np.where(matte[:, None] > 0, canvas.own / np.maximum(opacity, 1e-3)[:, None], canvas.colour)
        return Frame(
            image=np.round(canvas.colour * 255).astype(np.uint8).reshape(size, size, 3),
            own=np.round(np.clip(own, 0, 1) * 255).astype(np.uint8).reshape(size, size, 3),
            matte=matte.reshape(size, size),
            parts=np.where(matte > 127, canvas.votes.argmax(1), Label.BACKGROUND).astype(np.uint8).reshape(size, size),
            landmarks=self._landmarks(),
            depth=canvas.depth.reshape(size, size),
            normals=unit(canvas.normals).reshape(size, size, 3),
        )

    def _render_plain_pixels(self, canvas: _Pixels) -> Bools:
        """Render the pixels without fine detail by one ray each. Returns which pixels (P,) are left: in or near fine detail."""
        size = self.renderer.size
        every = np.arange(size * size)
        directions = self._directions(every, PIXEL_CENTRE)
        triangle, barycentric, distance = self.rays.first_along(np.zeros_like(directions), directions)
        hit = triangle >= 0
        detailed = hit & (
            np.isin(self.figure.material[triangle], DETAILED_MATERIALS) | self.renderer.appearance.lining[triangle]
        )
        if self.lenses is not None:
            detailed |= self.lenses.rays.first_along(np.zeros_like(directions), directions)[0] >= 0
        near = cv2.dilate(detailed.astype(np.uint8).reshape(size, size), np.ones((5, 5), np.uint8)).ravel() > 0
        plain = np.flatnonzero(~near)
        ray = np.flatnonzero(hit[plain])
        met = plain[ray]
        seen = RaySamples(
            ray=ray,
            triangle=triangle[met],
            barycentric=barycentric[met],
            distance=distance[met],
            share=np.ones(len(met), np.float32),
        )
        towards = shade.key_light_directions()
        lights = np.broadcast_to(towards[:, None], (len(towards), len(met), 3))
        canvas.replace(plain, self._render_pixels(plain, directions[plain], seen, lights))
        return np.asarray(near, dtype=np.bool_)

    def _render_pixels(self, pixels: Ints, directions: Floats, seen: RaySamples, lights: Floats) -> _Pixels:
        """What pixels see.

        Args:
            pixels: their numbers, (P,).
            directions: of their rays, the same number of them for each pixel, (R, 3).
            seen: what the rays meet.
            lights: directions to points on the key light, (L, N, 3).
        """
        count, each = len(pixels), len(directions) // max(len(pixels), 1)
        samples = self.surfaces.shading_samples(seen.triangle, seen.barycentric, -directions[seen.ray], lights)
        colour, label = self.surfaces.colour_and_label(seen.triangle, seen.barycentric, samples)
        pixel, share = seen.ray // max(each, 1), seen.share / np.float32(max(each, 1))
        light = _summed(seen.ray, seen.share[:, None] * colour, count * each)
        taken = np.bincount(seen.ray, seen.share, count * each).astype(np.float32)[:, None]
        alone: Floats = np.asarray(light / np.maximum(taken, 1e-4), dtype=np.float32)
        own = np.asarray(taken * shade.tone_map(alone), dtype=np.float32)
        light += (1 - taken) * np.repeat(self.renderer.wall[pixels], each, 0)
        depth = np.full(count, np.inf, np.float32)
        firm = seen.share > MIN_DEPTH_SHARE
        np.minimum.at(depth, pixel[firm], (seen.distance * directions[seen.ray, 2])[firm])
        return _Pixels(
            colour=shade.tone_map(light).reshape(count, each, 3).mean(1),
            own=own.reshape(count, each, 3).mean(1),
            votes=np.bincount(pixel * LABELS + label, share, count * LABELS).astype(np.float32).reshape(-1, LABELS),
            depth=depth,
            normals=_summed(pixel, share[:, None] * samples.normals, count),
        )

    def _directions(self, pixels: Ints, offsets: Floats) -> Floats:
        """Directions (P·K, 3) of rays through pixels (P,), at offsets (K, 2) in pixels from their corners."""
        size = self.renderer.size
        focal, x0, y0 = self.camera
        corner = np.stack([pixels % size, pixels // size], 1).astype(np.float32)
        place = (corner[:, None] + offsets[None]).reshape(-1, 2) / size
        x, y = (place[:, 0] - x0) / focal, (place[:, 1] - y0) / focal
        return unit(np.stack([x, y, np.ones_like(x)], -1))

    def _landmarks(self) -> Floats:
        """The rig's landmarks in the picture, (478, 2) fractions of the side."""
        rig = self.figure.rig
        body = torch.from_numpy(self.posed.vertices[: len(rig.template)])
        points = interpolate_on_surface(body, rig.faces, rig.landmarks.triangles, rig.landmarks.barycentric).numpy()
        focal, x0, y0 = self.camera
        projected = focal * points[:, :2] / points[:, 2:] + np.array([x0, y0])
        return np.asarray(projected.reshape(LANDMARKS, 2), dtype=np.float32)


def _summed(group: Ints, values: Floats, count: int) -> Floats:
    """Sums (count, C) of the values (N, C) of each group, whose numbers (N,) are 0 to count − 1."""
    return np.stack([np.bincount(group, values[:, axis], count) for axis in range(values.shape[1])], 1).astype(
        np.float32
    )


def _need_more_rays(canvas: _Pixels, unknown: Bools, size: int) -> Bools:
    """Which pixels (P,) differ from a neighbour in label, or in colour by over `MAX_CONTRAST`; `unknown` ones do not count."""
    square = np.ones((3, 3), np.uint8)
    values = np.concatenate([canvas.colour / MAX_CONTRAST, canvas.label[:, None] * np.float32(2)], 1)
    dark, bright = np.where(unknown[:, None], 1e9, values), np.where(unknown[:, None], -1e9, values)
    lowest = [cv2.erode(dark[:, channel].reshape(size, size), square) for channel in range(4)]
    highest = [cv2.dilate(bright[:, channel].reshape(size, size), square) for channel in range(4)]
    return np.asarray(((np.stack(highest) - np.stack(lowest)) > 1).any(0).ravel())
