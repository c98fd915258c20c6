"""Fits the rig to a video's landmarks: one identity and one focal length, a head pose and an expression a frame.

A joint least-squares problem in blocks: each frame's pose and expression touch only that frame's landmarks, the identity
and the focal length touch all. Gauss–Newton with damping eliminates the frames' blocks (Schur complement), so that a step
costs one small dense solve a frame and one for the identity. Outliers weigh less (Huber, reweighted at each step).

Legend: T frames, L landmarks used, K shape axes, E expressions, P = 6 + E unknowns a frame, Q = K + 1 shared unknowns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import linalg as splinalg
from torch import Tensor

from pegasus_ray.library.track import Floats
from pegasus_ray.perception.observe import Observations
from pegasus_ray.rig.model import Rig, rodrigues, rotation_vectors, surface
from pegasus_ray.schemas.errors import PegasusError, Reason

Progress = Callable[[str, int, int], None]

OUTER_EYES: Final = (33, 263)
FIRST_IRIS: Final = 468
CHUNK: Final = 32  # frames whose Jacobians are in memory at once
STEADY: Final = (0.0035, 0.0035, 0.0035, 0.001, 0.001, 0.002)
"""Radians and metres off the mean of its neighbours that cost a pose as much as a landmark error of 1 %, at smoothness 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRigConfig:
    """Weights are relative to the mean squared error of the landmarks in percent of the distance of the outer eye corners."""

    shape_prior: float = 0.005  # pull of each identity axis towards 0
    expression_prior: float = 0.1  # pull of each expression towards its start
    expression_start: float = 0.7  # of the blendshape score
    range_penalty: float = 5.0  # on what an expression lies outside of 0–1
    focal: float = 1.6  # likely focal length in longer sides of the video's picture
    focal_prior: float = 0.1  # pull of its logarithm towards that
    robust: float = 2.0  # percent; from here on an error counts linearly
    smoothness: float = 0.1  # pull of the pose towards the mean of both neighbours in time
    near: float = 0.12  # seconds; frames farther apart are no neighbours
    steps: int = 10  # of each stage at most
    settled: float = 1e-4  # share of the loss; a stage ends when a step gains less
    every_fifth_left_out: bool = False  # keep every fifth landmark out of the fit, to judge it

    def __post_init__(self) -> None:
        for name in ("shape_prior", "expression_prior", "focal", "robust"):
            if getattr(self, name) <= 0:
                raise PegasusError(Reason.BAD_CONFIG, "must be positive", subject=f"{name}={getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RigFit:
    """The rig's parameters of a video, as in `Track`."""

    shape: Floats  # (K,)
    expression: Floats  # (T, E)
    head: Floats  # (T, 6)
    camera: Floats  # (T, 3)
    error: Floats  # (T,) mean reprojection error of the landmarks fitted, percent of the outer-eye distance
    left_out_error: Floats  # (T,) the same of the landmarks left out; empty where none were


def fit_rig(
    observations: Observations, rig: Rig, config: FitRigConfig | None = None, progress: Progress | None = None
) -> RigFit:
    """The rig's parameters of an observed video.

    Raises:
        PegasusError: DIVERGED where no finite fit was found.
    """
    config = config or FitRigConfig()
    longer = max(observations.width, observations.height) / observations.crop.side
    return fit_landmarks(
        rig,
        landmarks=torch.from_numpy(observations.landmarks),
        blendshapes=torch.from_numpy(observations.blendshapes),
        times=torch.from_numpy(observations.times),
        centre=observations.centre,
        focal=config.focal * longer,
        config=config,
        progress=progress,
    )


def fit_landmarks(
    rig: Rig,
    *,
    landmarks: Tensor,  # (T, 478, 2) sides of the crop
    blendshapes: Tensor,  # (T, E) 0–1
    times: Tensor,  # (T,) seconds
    centre: tuple[float, float],  # principal point, sides
    focal: float,  # likely focal length, sides
    config: FitRigConfig,
    progress: Progress | None = None,
) -> RigFit:
    """The rig's parameters from landmarks alone; see `fit_rig`."""
    problem = _Problem(rig, landmarks, blendshapes, times, centre, focal, config)
    state = problem.start()
    for done, stage in enumerate(_Stage):
        if progress:
            progress("rig", done, len(_Stage))
        state = problem.solve(state, stage)
    state = problem.smooth(state)
    if not math.isfinite(problem.loss(state)):
        raise PegasusError(Reason.DIVERGED, "the rig could not be fitted to the landmarks; give a clearer video")
    error, left_out = problem.errors(state)
    pose = torch.cat([rotation_vectors(state.rotation), state.translation], 1)
    camera = torch.tensor([math.exp(state.log_focal), *centre]).expand(len(pose), 3)
    return RigFit(
        shape=state.shape.numpy(),
        expression=state.expression.numpy(),
        head=pose.numpy(),
        camera=camera.float().contiguous().numpy(),
        error=error.numpy(),
        left_out_error=left_out.numpy(),
    )


class _Stage(Enum):
    """What moves: the poses; the identity and the focal length too; all."""

    POSE = auto()
    SHAPE = auto()
    ALL = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    rotation: Tensor  # (T, 3, 3)
    translation: Tensor  # (T, 3)
    expression: Tensor  # (T, E)
    shape: Tensor  # (K,)
    log_focal: float

    def select(self, frames: slice) -> _State:
        """The state of some of the frames."""
        return replace(
            self,
            rotation=self.rotation[frames],
            translation=self.translation[frames],
            expression=self.expression[frames],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _System:
    """Normal equations in blocks: frames' own (T, P, P), coupling (T, P, Q), shared (Q, Q), and the gradients."""

    own: Tensor
    coupling: Tensor
    shared: Tensor
    own_gradient: Tensor  # (T, P)
    shared_gradient: Tensor  # (Q,)


class _Problem:
    def __init__(
        self,
        rig: Rig,
        landmarks: Tensor,
        blendshapes: Tensor,
        times: Tensor,
        centre: tuple[float, float],
        focal: float,
        config: FitRigConfig,
    ) -> None:
        places = rig.landmarks
        number = torch.arange(len(places.weights))
        left_out = (number % 5 == 0) & (number < FIRST_IRIS) & config.every_fifth_left_out
        used = places.weights > 0
        weights = torch.where(left_out, 0.0, places.weights)[used]

        def bound(values: Tensor) -> Tensor:
            return surface(values, rig.faces, places.triangles[used], places.barycentric[used])

        flip = torch.tensor([1.0, -1.0, -1.0])
        self.template = bound(rig.template) * flip  # (L, 3)
        self.shape_basis = bound(rig.shape_basis.transpose(0, 1)).transpose(0, 1) * flip  # (K, L, 3)
        self.expression_basis = bound(rig.expression_basis.transpose(0, 1)).transpose(0, 1) * flip  # (E, L, 3)
        self.seen = landmarks[:, used]  # (T, L, 2)
        self.fitted, self.left_out = weights > 0, left_out[used]
        self.weights = weights / weights.sum()  # (L,)
        corners = landmarks[:, OUTER_EYES[0]] - landmarks[:, OUTER_EYES[1]]
        self.unit: Tensor = 100 / corners.norm(dim=1).clamp(min=1e-3).median()  # percent of the outer-eye distance
        self.eyes = bound(rig.template)[[int(used[:corner].sum()) for corner in OUTER_EYES]]
        self.centre = torch.tensor(centre)
        self.log_focal = math.log(focal)
        self.start_expression = config.expression_start * blendshapes
        self.config = config
        near = times.diff() < config.near
        self.between = 1 + (near[1:] & near[:-1]).nonzero()[:, 0].numpy()  # frames with both neighbours near

    def start(self) -> _State:
        """Heads that look into the camera, as far away as their size says."""
        frames = len(self.seen)
        focal = math.exp(self.log_focal)
        apart = float((self.eyes[0] - self.eyes[1]).norm())
        depth = torch.full((frames,), focal * apart / (100 / float(self.unit)))
        middle = (self.seen.mean(1) - self.centre) * depth[:, None] / focal
        return _State(
            rotation=torch.eye(3).expand(frames, 3, 3),
            translation=torch.cat([middle, depth[:, None]], 1),
            expression=self.start_expression.clone(),
            shape=torch.zeros(len(self.shape_basis)),
            log_focal=self.log_focal,
        )

    def solve(self, state: _State, stage: _Stage) -> _State:
        """Damped Gauss–Newton steps until they gain nothing."""
        loss, damping = self.loss(state), 1e-3
        for _ in range(self.config.steps):
            system, before = self._system(state, stage), loss
            while damping < 1e6:
                moved = self._move(state, system, damping)
                loss = self.loss(moved)
                if loss < before:
                    break
                damping *= 10
            else:
                return state
            state, damping = moved, max(damping / 10, 1e-6)
            if before - loss < self.config.settled * before:
                break
        return state

    def smooth(self, state: _State) -> _State:
        """The poses with their accelerations held against the landmarks' say, all frames solved at once."""
        if self.config.smoothness == 0 or len(self.between) == 0:
            return state
        frames, rows = len(self.seen), len(self.between)
        bend = sparse.coo_array(
            (
                np.repeat([1.0, -0.5, -0.5], rows),
                (np.tile(np.arange(rows), 3), np.concatenate([self.between, self.between - 1, self.between + 1])),
            ),
            shape=(rows, frames),
        )
        stiffness = self.config.smoothness / self.config.robust / np.square(STEADY)
        steady = sparse.kron(bend.T @ bend, sparse.diags_array(stiffness)).tocsc()
        for _ in range(3):
            system = self._system(state, _Stage.POSE)
            pose = torch.cat([rotation_vectors(state.rotation), state.translation], 1).double().flatten().numpy()
            curvature = sparse.block_diag(list(system.own.numpy())).tocsc() + steady
            step = splinalg.spsolve(curvature, -system.own_gradient.flatten().numpy() - steady @ pose)
            moved = torch.from_numpy(np.asarray(step, dtype=np.float32)).reshape(frames, 6)
            state = replace(
                state,
                rotation=rodrigues(moved[:, :3]) @ state.rotation,
                translation=state.translation + moved[:, 3:],
            )
        return state

    def _points(self, state: _State) -> tuple[Tensor, Tensor]:
        """Landmarks about the head's origin (T, L, 3), and in camera space."""
        still = self.template + torch.einsum("k,klc->lc", state.shape, self.shape_basis)
        rest = still + torch.einsum("te,elc->tlc", state.expression, self.expression_basis)
        about = rest @ state.rotation.mT
        return about, about + state.translation[:, None]

    def _residuals(self, points: Tensor, log_focal: float) -> Tensor:
        """Errors of camera-space points (T, L, 3) on the picture in percent, (T, L, 2)."""
        projected = math.exp(log_focal) * points[..., :2] / points[..., 2:].clamp(min=0.05) + self.centre
        return (projected - self.seen) * self.unit

    def errors(self, state: _State) -> tuple[Tensor, Tensor]:
        """Mean error a frame of the landmarks fitted and of those left out, percent, (T,) each."""
        length = self._residuals(self._points(state)[1], state.log_focal).norm(dim=2)
        left_out = length[:, self.left_out].mean(1) if self.left_out.any() else torch.zeros(0)
        return length[:, self.fitted].mean(1), left_out

    def loss(self, state: _State) -> float:
        """Mean over frames of the robust error and the priors of a frame, and the shared priors."""
        config = self.config
        length = self._residuals(self._points(state)[1], state.log_focal).norm(dim=2)
        edge = config.robust
        robust = torch.where(length < edge, length**2 / (2 * edge), length - edge / 2)
        outside = state.expression - state.expression.clamp(0, 1)
        total = (robust @ self.weights).mean()
        total = total + config.expression_prior * ((state.expression - self.start_expression) ** 2).sum(1).mean()
        total = total + config.range_penalty * (outside**2).sum(1).mean()
        total = total + config.shape_prior * (state.shape**2).sum()
        return float(total) + config.focal_prior * (state.log_focal - self.log_focal) ** 2

    def _system(self, state: _State, stage: _Stage) -> _System:
        """Half the second derivatives and gradients of T × loss; only the stage's unknowns are in it."""
        blocks = []
        for begin in range(0, len(self.seen), CHUNK):
            part = slice(begin, begin + CHUNK)
            frame, whole, errors = self._jacobian(state.select(part), self.seen[part], stage)
            flat = whole.flatten(0, 1)
            blocks.append(
                (
                    frame.mT @ frame,
                    frame.mT @ whole,
                    (frame.mT @ errors[..., None])[..., 0],
                    flat.mT @ flat,
                    flat.mT @ errors.flatten(),
                )
            )
        own, coupling, own_gradient, shared, shared_gradient = zip(*blocks, strict=True)
        system = _System(
            own=torch.cat(own).double(),
            coupling=torch.cat(coupling).double(),
            shared=torch.stack(shared).double().sum(0),
            own_gradient=torch.cat(own_gradient).double(),
            shared_gradient=torch.stack(shared_gradient).double().sum(0),
        )
        self._add_priors(system, state, stage)
        return system

    def _add_priors(self, system: _System, state: _State, stage: _Stage) -> None:
        config, frames = self.config, len(self.seen)
        if stage is _Stage.ALL:
            outside = state.expression - state.expression.clamp(0, 1)
            start = state.expression - self.start_expression
            system.own.diagonal(dim1=1, dim2=2)[:, 6:] += 2 * (
                config.expression_prior + config.range_penalty * (outside != 0)
            )
            system.own_gradient[:, 6:] += 2 * (config.expression_prior * start + config.range_penalty * outside)
        if stage is not _Stage.POSE:
            diagonal = system.shared.diagonal()
            diagonal[:-1] += 2 * frames * config.shape_prior
            diagonal[-1] += 2 * frames * config.focal_prior
            system.shared_gradient[:-1] += 2 * frames * config.shape_prior * state.shape
            system.shared_gradient[-1] += 2 * frames * config.focal_prior * (state.log_focal - self.log_focal)

    def _jacobian(self, state: _State, seen: Tensor, stage: _Stage) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives by frames' unknowns (t, 2L, P) and by the shared ones (t, 2L, Q), and errors (t, 2L), weighted.

        The weights make the squares' gradient that of the robust error.
        """
        about, points = self._points(state)
        focal = math.exp(state.log_focal)
        depth = points[..., 2].clamp(min=0.05)
        offset = focal * points[..., :2] / depth[..., None]
        zero = torch.zeros_like(depth)
        across = torch.stack([focal / depth, zero, -offset[..., 0] / depth], -1)
        down = torch.stack([zero, focal / depth, -offset[..., 1] / depth], -1)
        project = torch.stack([across, down], 2) * self.unit  # (t, L, 2, 3)
        turn = torch.linalg.cross(about[:, :, None].expand_as(project), project)  # of a rotation after the pose's
        inward = project @ state.rotation[:, None]  # of a motion in rest space
        errors = (offset + self.centre - seen) * self.unit
        scale = (self.weights / errors.norm(dim=2).clamp(min=self.config.robust)).sqrt()[..., None, None]
        frame, whole = torch.cat([turn, project], -1), inward[..., :0]
        if stage is _Stage.ALL:
            frame = torch.cat([frame, torch.einsum("tlpc,elc->tlpe", inward, self.expression_basis)], -1)
        if stage is not _Stage.POSE:
            by_shape = torch.einsum("tlpc,klc->tlpk", inward, self.shape_basis)
            whole = torch.cat([by_shape, offset[..., None] * self.unit], -1)
        frame, whole = frame * scale, whole * scale
        return frame.flatten(1, 2), whole.flatten(1, 2), (errors * scale[..., 0]).flatten(1)

    def _move(self, state: _State, system: _System, damping: float) -> _State:
        """Solves the damped equations and takes the step."""
        factor = torch.linalg.cholesky(_damp(system.own, damping))
        solved = torch.cholesky_solve(torch.cat([system.coupling, system.own_gradient[..., None]], -1), factor)
        reduced = _damp(system.shared, damping) - torch.einsum("tpq,tpr->qr", system.coupling, solved[..., :-1])
        gradient = system.shared_gradient - torch.einsum("tpq,tp->q", system.coupling, solved[..., -1])
        whole = -torch.linalg.solve(reduced, gradient)
        frame = -solved[..., -1] - solved[..., :-1] @ whole
        moved = replace(
            state,
            rotation=rodrigues(frame[:, :3].float()) @ state.rotation,
            translation=state.translation + frame[:, 3:6].float(),
        )
        if frame.shape[1] > 6:
            moved = replace(moved, expression=state.expression + frame[:, 6:].float())
        if len(whole):
            log_focal = state.log_focal + float(whole[-1])
            moved = replace(moved, shape=state.shape + whole[:-1].float(), log_focal=log_focal)
        return moved


def _damp(matrix: Tensor, damping: float) -> Tensor:
    """Levenberg's and Marquardt's larger diagonal."""
    return matrix + torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1) * damping)
