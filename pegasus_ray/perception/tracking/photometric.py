"""Refines poses and expressions so that a point of the face has the same brightness in all frames.

Landmarks jitter by about a pixel. Here thousands of points on the rig are looked up in each frame; their mean over the
frames is a likeness of the face without shading (a band of spatial frequencies, each frame at equal contrast), and each
frame's pose and expression are moved towards it, the landmarks still having their say. All frames are treated alike,
whether an avatar will be fitted to them or judged on them.

Legend: T frames, S side of the frames, N points, E expressions, P = 6 + E unknowns a frame.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from pegasus_ray.library.track import Bytes
from pegasus_ray.perception.tracking.config import PhotometricConfig
from pegasus_ray.perception.tracking.landmark_problem import LandmarkProblem, Stage, damp
from pegasus_ray.perception.tracking.rig_state import BoundPoints, State, by_pose
from pegasus_ray.rig.model import Rig, rodrigues
from pegasus_ray.schemas.parts import Label, Part

LARGEST: Final = 256  # pixels a side that are worked on
CHUNK: Final = 16  # frames whose Jacobians are in memory at once
FACE: Final = (Part.SKIN, Part.EYEBROWS, Part.NOSE, Part.MOUTH, Part.EYES)
EYES: Final = (Label.EYE_LEFT, Label.EYE_RIGHT)
SHOWN: Final = (
    *(Label.SKIN, Label.NOSE, Label.BROW_LEFT, Label.BROW_RIGHT, Label.LIP_UPPER, Label.LIP_LOWER),
    *EYES,
)


class PhotometricProblem:
    """The frames of a video, and points of the rig to be looked up in them."""

    def __init__(
        self,
        rig: Rig,
        landmarks: LandmarkProblem,
        images: Bytes,  # (T, S, S, 3)
        mattes: Bytes,  # (T, S, S)
        parts: Bytes,  # (T, S, S)
        config: PhotometricConfig,
        seed: int = 0,
    ) -> None:
        self.config, self.landmarks = config, landmarks
        images, mattes, parts = _shrink(images, mattes, parts)
        self.size = images.shape[1]
        eyes = 100 / float(landmarks.unit) * self.size  # outer-eye distance in pixels
        bands = (max(config.fine * eyes, 0.7), config.coarse * eyes)
        self.pictures = torch.from_numpy(
            np.stack([_band(*frame, bands) for frame in zip(images, mattes, strict=True)])
        )  # (T, 3, S, S): brightness and its slopes, a pixel
        self.shown = torch.from_numpy(np.isin(parts, SHOWN) & (mattes > 127))
        self.eyes_shown = torch.from_numpy(np.isin(parts, EYES))
        triangles, barycentric = _scatter(rig, config.points, seed)
        self.points = BoundPoints.of(rig, triangles, barycentric)
        corners = rig.template[rig.faces[triangles]] * torch.tensor([1.0, -1.0, -1.0])
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normals = torch.nn.functional.normalize(normal, dim=1)
        self.on_eyes = rig.parts[triangles] == Part.EYES

    def refine(self, state: State) -> State:
        """Rounds of a new likeness and a step towards it."""
        for _ in range(self.config.rounds):
            state = self._step(state)
        return state

    def spread(self, state: State) -> Tensor:
        """How far each frame is off the likeness, (T,), in standard deviations of its brightness: for judging a fit."""
        likeness, trust, _ = self._likeness(state)
        off = []
        for part in self._parts():
            values, seen, _ = self._look(state.select(part), part)
            weight = seen * trust
            off.append(((values[..., 0] - likeness).abs() * weight).sum(1) / weight.sum(1).clamp(min=1e-6))
        return torch.cat(off)

    def _parts(self) -> list[slice]:
        return [slice(begin, begin + CHUNK) for begin in range(0, len(self.pictures), CHUNK)]

    def _look(self, state: State, part: slice) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Brightness and slopes a pixel (t, N, 3) at equal contrast, how well points are seen (t, N), and the places."""
        about, points = self.points.place(state)
        offset = by_pose(about, points, state, 1.0)[0] + self.landmarks.centre
        grid = (2 * offset - 1)[:, None]
        values = torch.nn.functional.grid_sample(self.pictures[part], grid, align_corners=False)[:, :, 0].mT
        toward = torch.nn.functional.normalize(-points, dim=-1)
        facing = ((self.normals @ state.rotation.mT) * toward).sum(-1)
        pixel = (offset * self.size).long().clamp(0, self.size - 1)
        frame = torch.arange(len(offset))[:, None]
        shown = self.shown[part][frame, pixel[..., 1], pixel[..., 0]]
        lid = self.eyes_shown[part][frame, pixel[..., 1], pixel[..., 0]] != self.on_eyes
        inside = (offset > 0).all(-1) & (offset < 1).all(-1)
        seen = ((facing - 0.2) / 0.3).clamp(0, 1) * (shown & inside & ~lid)
        total = seen.sum(1, keepdim=True).clamp(min=1e-6)
        mean = (values[..., 0] * seen).sum(1, keepdim=True) / total
        contrast = (((values[..., 0] - mean) ** 2 * seen).sum(1, keepdim=True) / total).sqrt().clamp(min=1e-3)
        values = torch.cat([values[..., :1] - mean[..., None], values[..., 1:]], -1) / contrast[..., None]
        return values, seen, (about, points)

    def _likeness(self, state: State) -> tuple[Tensor, Tensor, float]:
        """Mean brightness of the points, how steady they are (0–1), (N,) each, and the usual difference from the mean."""
        total, first, second = (torch.zeros(len(self.normals)) for _ in range(3))
        for part in self._parts():
            values, seen, _ = self._look(state.select(part), part)
            total += seen.sum(0)
            first += (seen * values[..., 0]).sum(0)
            second += (seen * values[..., 0] ** 2).sum(0)
        mean = first / total.clamp(min=1e-6)
        spread = (second / total.clamp(min=1e-6) - mean**2).clamp(min=0).sqrt()
        often = total > self.config.least_seen * len(self.pictures)
        usual = float(spread[often].median()) if often.any() else 1.0
        trust = often / (1 + (spread / max(usual, 1e-6)) ** 2)
        return mean, trust, max(usual, 1e-3)

    def _step(self, state: State) -> State:
        likeness, trust, usual = self._likeness(state)
        system = self.landmarks.system(state, Stage.FRAMES)
        own, gradient = system.own, system.own_gradient
        for part in self._parts():
            chosen = state.select(part)
            values, seen, (about, points) = self._look(chosen, part)
            _, turn, project, inward = by_pose(about, points, chosen, self.size)
            slope = values[..., None, 1:]  # (t, N, 1, 2)
            turned, moved, deformed = ((slope @ jacobian)[:, :, 0] for jacobian in (turn, project, inward))
            expressed = torch.einsum("tnc,enc->tne", deformed, self.points.expression_basis)
            jacobian = torch.cat([turned, moved, expressed], -1) / usual
            residual = (values[..., 0] - likeness) / usual
            weight = seen * trust / residual.abs().clamp(min=1.0)
            weight = self.config.weight * weight / (seen * trust).sum(1, keepdim=True).clamp(min=1e-6)
            own[part] += (jacobian.mT @ (jacobian * weight[..., None])).double()
            gradient[part] += torch.einsum("tnp,tn->tp", jacobian, weight * residual).double()
        step = -torch.linalg.solve(damp(own, 1e-3), gradient).float()
        return replace(
            state,
            rotation=rodrigues(step[:, :3]) @ state.rotation,
            translation=state.translation + step[:, 3:6],
            expression=state.expression + step[:, 6:],
        )


def _shrink(images: Bytes, mattes: Bytes, parts: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """The frames at no more than `LARGEST` pixels a side."""
    if images.shape[1] <= LARGEST:
        return images, mattes, parts
    side = (LARGEST, LARGEST)
    return (
        np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in images]),
        np.stack([cv2.resize(matte, side, interpolation=cv2.INTER_AREA) for matte in mattes]),
        np.stack([cv2.resize(part, side, interpolation=cv2.INTER_NEAREST) for part in parts]),
    )


def _band(image: Bytes, matte: Bytes, bands: tuple[float, float]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """A band of spatial frequencies of the person's brightness, and its slopes to the right and down, (3, S, S)."""
    opacity = matte.astype(np.float32) / 255
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = cv2.GaussianBlur(opacity, (0, 0), bands[1])
    shade = cv2.GaussianBlur(grey * opacity, (0, 0), bands[1]) / np.maximum(inside, 1e-3)
    band = cv2.GaussianBlur((grey - shade) * opacity, (0, 0), bands[0])
    down, across = np.gradient(band)
    return np.stack([band, across, down]).astype(np.float32)


def _scatter(rig: Rig, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Points spread evenly over the front of the face: faces (N,) and barycentric coordinates (N, 3)."""
    corners = rig.template[rig.faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    wanted = torch.isin(rig.parts, torch.tensor([int(part) for part in FACE]))
    wanted &= (corners.mean(1)[:, 2] > -0.05) & (normal[:, 2] > 0)
    source = torch.Generator().manual_seed(seed)
    triangles = torch.multinomial(normal.norm(dim=1) * wanted, count, replacement=True, generator=source)
    a, b = torch.rand(2, count, generator=source)
    a, b = torch.where(a + b > 1, 1 - a, a), torch.where(a + b > 1, 1 - b, b)
    return triangles, torch.stack([1 - a - b, a, b], 1)
