"""Refines poses and expressions so that a point of the face has the same brightness in all frames.

Landmarks jitter by about a pixel. Here the brightness of thousands of points on the rig is sampled in each frame. Its mean
over the frames is a picture of the face without shading (a band of spatial frequencies, each frame at equal contrast).
Each frame's pose and expression are moved so that its own brightness comes nearer to the mean, while the landmarks still
count. All frames are treated alike, whether an avatar will be fitted to them or judged on them.

Legend: T frames, S side of the frames, N points, E expressions, P = 6 + E unknowns a frame.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
import torch
from torch import Tensor

from pegasus_ray.perception.footage.segmented import SegmentedFrames
from pegasus_ray.perception.nets.square import Bytes, Floats
from pegasus_ray.perception.tracking.config import PhotometricConfig
from pegasus_ray.perception.tracking.landmark_problem import LandmarkProblem, Unknowns, damp
from pegasus_ray.perception.tracking.rig_state import BoundPoints, State, project_with_jacobians
from pegasus_ray.rig.model import Rig, rodrigues
from pegasus_ray.schemas.parts import Label, Part

MAX_WORKING_SIDE: Final = 256  # pixels; larger frames are reduced
FRAMES_AT_ONCE: Final = 16  # whose Jacobians are in memory together
FACE_PARTS: Final = (Part.SKIN, Part.EYEBROWS, Part.NOSE, Part.MOUTH, Part.EYES)  # of the rig, where points are taken
EYE_LABELS: Final = (Label.EYE_LEFT, Label.EYE_RIGHT)
FACE_LABELS: Final = (
    *(Label.SKIN, Label.NOSE, Label.BROW_LEFT, Label.BROW_RIGHT, Label.LIP_UPPER, Label.LIP_LOWER),
    *EYE_LABELS,
)
"""Labels of the pixels in which a point may be seen: pixels with other labels show something in front of the face."""
_DRAW_SEED: Final = 0  # of the random points on the rig


class PhotometricProblem:
    """The frames of a video, and points of the rig whose brightness is sampled in them.

    Args:
        rig: the rig.
        landmarks: the same video's landmark problem, whose error is minimised along with that of the pictures.
        frames: its frames.
        config: how much the pictures count, and which details.
    """

    def __init__(
        self, rig: Rig, landmarks: LandmarkProblem, frames: SegmentedFrames, config: PhotometricConfig
    ) -> None:
        self.config, self.landmarks = config, landmarks
        images, mattes, parts = _shrink(frames.images, frames.mattes, frames.parts)
        self.size = images.shape[1]
        eyes = 100 / float(landmarks.unit) * self.size  # outer-eye distance in pixels
        bands = (max(config.fine * eyes, 0.7), config.coarse * eyes)
        self.pictures = torch.from_numpy(
            np.stack([_band(*frame, bands) for frame in zip(images, mattes, strict=True)])
        )  # (T, 3, S, S): brightness, and its slopes a pixel
        self.shown = torch.from_numpy(np.isin(parts, FACE_LABELS) & (mattes > 127))
        self.eyes_shown = torch.from_numpy(np.isin(parts, EYE_LABELS))
        triangles, barycentric = _scatter(rig, config.points)
        self.points = BoundPoints.of(rig, triangles, barycentric)
        corners = rig.template[rig.faces[triangles]] * torch.tensor([1.0, -1.0, -1.0])
        normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normals = torch.nn.functional.normalize(normal, dim=1)
        self.on_eyes = rig.parts[triangles] == Part.EYES

    def refine(self, state: State) -> State:
        """The state after the configured rounds of averaging the frames and moving each towards the mean."""
        for _ in range(self.config.rounds):
            state = self._step(state)
        return state

    def _chunks(self) -> list[slice]:
        return [slice(begin, begin + FRAMES_AT_ONCE) for begin in range(0, len(self.pictures), FRAMES_AT_ONCE)]

    def _sample(self, state: State, part: slice) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """The frames' brightness at the points.

        Returns:
            Brightness and its slopes a pixel (t, N, 3), each frame at equal contrast; how well the points are seen (t, N),
            0–1; and the points relative to the head's origin and in camera space, (t, N, 3) metres each.
        """
        about, points = self.points.place(state)
        offset = project_with_jacobians(about, points, state, 1.0)[0] + self.landmarks.centre
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

    def _mean_face(self, state: State) -> tuple[Tensor, Tensor, float]:
        """Mean brightness of the points, how steady it is (0–1), (N,) each, and the points' median deviation from it."""
        total, first, second = (torch.zeros(len(self.normals)) for _ in range(3))
        for part in self._chunks():
            values, seen, _ = self._sample(state.select(part), part)
            total += seen.sum(0)
            first += (seen * values[..., 0]).sum(0)
            second += (seen * values[..., 0] ** 2).sum(0)
        mean = first / total.clamp(min=1e-6)
        deviation = (second / total.clamp(min=1e-6) - mean**2).clamp(min=0).sqrt()
        often = total > self.config.least_seen * len(self.pictures)
        usual = float(deviation[often].median()) if often.any() else 1.0
        trust = often / (1 + (deviation / max(usual, 1e-6)) ** 2)
        return mean, trust, max(usual, 1e-3)

    def _step(self, state: State) -> State:
        """The state after one Gauss–Newton step of all frames towards their mean brightness."""
        mean, trust, usual = self._mean_face(state)
        system = self.landmarks.system(state, Unknowns.POSES_AND_EXPRESSIONS)
        own, gradient = system.own, system.own_gradient
        for part in self._chunks():
            chosen = state.select(part)
            values, seen, (about, points) = self._sample(chosen, part)
            _, turn, project, inward = project_with_jacobians(about, points, chosen, self.size)
            slope = values[..., None, 1:]  # (t, N, 1, 2)
            turned, moved, deformed = ((slope @ jacobian)[:, :, 0] for jacobian in (turn, project, inward))
            expressed = torch.einsum("tnc,enc->tne", deformed, self.points.expression_basis)
            jacobian = torch.cat([turned, moved, expressed], -1) / usual
            residual = (values[..., 0] - mean) / usual
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
    """The frames at no more than `MAX_WORKING_SIDE` pixels a side."""
    if images.shape[1] <= MAX_WORKING_SIDE:
        return images, mattes, parts
    side = (MAX_WORKING_SIDE, MAX_WORKING_SIDE)
    return (
        np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in images]),
        np.stack([cv2.resize(matte, side, interpolation=cv2.INTER_AREA) for matte in mattes]),
        np.stack([cv2.resize(part, side, interpolation=cv2.INTER_NEAREST) for part in parts]),
    )


def _band(image: Bytes, matte: Bytes, bands: tuple[float, float]) -> Floats:
    """A band of spatial frequencies of the person's brightness, and its slopes to the right and down, (3, S, S).

    Args:
        image: (S, S, 3).
        matte: (S, S).
        bands: standard deviations in pixels of the blurs that take out finer details and coarser shading.
    """
    opacity = matte.astype(np.float32) / 255
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inside = cv2.GaussianBlur(opacity, (0, 0), bands[1])
    shade = cv2.GaussianBlur(grey * opacity, (0, 0), bands[1]) / np.maximum(inside, 1e-3)
    band = cv2.GaussianBlur((grey - shade) * opacity, (0, 0), bands[0])
    down, across = np.gradient(band)
    return np.stack([band, across, down]).astype(np.float32)


def _scatter(rig: Rig, count: int) -> tuple[Tensor, Tensor]:
    """Points drawn with equal density over the front of the face: triangles (N,) and barycentric coordinates (N, 3)."""
    corners = rig.template[rig.faces]
    normal = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    wanted = torch.isin(rig.parts, torch.tensor([int(part) for part in FACE_PARTS]))
    wanted &= (corners.mean(1)[:, 2] > -0.05) & (normal[:, 2] > 0)
    source = torch.Generator().manual_seed(_DRAW_SEED)
    triangles = torch.multinomial(normal.norm(dim=1) * wanted, count, replacement=True, generator=source)
    a, b = torch.rand(2, count, generator=source)
    a, b = torch.where(a + b > 1, 1 - a, a), torch.where(a + b > 1, 1 - b, b)
    return triangles, torch.stack([1 - a - b, a, b], 1)
