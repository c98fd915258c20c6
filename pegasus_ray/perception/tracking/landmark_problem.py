"""The least-squares problem of fitting a rig to a video's landmarks.

Each frame's pose and expression affect only that frame's landmarks; the identity and the focal length affect all. So the
normal equations have an arrow shape: damped Gauss–Newton eliminates the frames' blocks (Schur complement), and a step costs
one small dense solve a frame and one for the identity. Outliers weigh less (Huber, reweighted at each step).

Legend: T frames, L landmarks used, K shape axes, E expressions, P = 6 + E unknowns a frame, Q = K + 1 shared unknowns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import Final

import numpy as np
import torch
from scipy import sparse
from scipy.sparse import linalg as splinalg
from torch import Tensor

from pegasus_ray.perception.nets.mesh_topology import FIRST_IRIS, OUTER_EYE_CORNERS
from pegasus_ray.perception.tracking.config import FitRigConfig
from pegasus_ray.perception.tracking.rig_state import BoundPoints, State, project_with_jacobians
from pegasus_ray.rig.model import Rig, rodrigues, rotation_vectors

FRAMES_AT_ONCE: Final = 32  # whose Jacobians are in memory together
POSE_TOLERANCE: Final = (0.0035, 0.0035, 0.0035, 0.001, 0.001, 0.002)
"""Rotation (radians) and translation (metres). A pose that is off the mean of its neighbours by as much costs the same as a
landmark error of 1 %, if the smoothness is 1."""


class Unknowns(Enum):
    """Which unknowns a solve changes; the others keep their values."""

    POSES = auto()
    POSES_AND_IDENTITY = auto()  # and the focal length
    ALL = auto()
    POSES_AND_EXPRESSIONS = auto()

    @property
    def expressive(self) -> bool:
        """Whether the expressions move."""
        return self in (Unknowns.ALL, Unknowns.POSES_AND_EXPRESSIONS)

    @property
    def shared(self) -> bool:
        """Whether identity and focal length move."""
        return self in (Unknowns.POSES_AND_IDENTITY, Unknowns.ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkSequence:
    """What the landmark model saw in a video's frames, and the camera that probably took it."""

    landmarks: Tensor  # (T, 478, 2) sides of the crop
    blendshapes: Tensor  # (T, E) scores, 0–1
    times: Tensor  # (T,) seconds
    centre: tuple[float, float]  # principal point, sides of the crop
    focal: float  # likely focal length, sides of the crop


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The normal equations in blocks."""

    own: Tensor  # (T, P, P) of each frame's unknowns
    coupling: Tensor  # (T, P, Q) between a frame's and the shared unknowns
    shared: Tensor  # (Q, Q)
    own_gradient: Tensor  # (T, P)
    shared_gradient: Tensor  # (Q,)


class LandmarkProblem:
    """The errors of a rig's landmarks against those seen in a video, as a function of the rig's parameters.

    Args:
        rig: the rig.
        seen: the landmarks that it is fitted to.
        config: weights of errors and priors.
    """

    def __init__(self, rig: Rig, seen: LandmarkSequence, config: FitRigConfig) -> None:
        places = rig.landmarks
        number = torch.arange(len(places.weights))
        left_out = (number % 5 == 0) & (number < FIRST_IRIS) & config.every_fifth_left_out
        used = places.weights > 0
        weights = torch.where(left_out, 0.0, places.weights)[used]

        drift = None if places.drift is None else places.drift[:, used]
        self.points = BoundPoints.of(rig, places.triangles[used], places.barycentric[used], drift)
        self.seen = seen.landmarks[:, used]  # (T, L, 2)
        self.fitted, self.left_out = weights > 0, left_out[used]
        self.weights = weights / weights.sum()  # (L,)
        corners = seen.landmarks[:, OUTER_EYE_CORNERS[0]] - seen.landmarks[:, OUTER_EYE_CORNERS[1]]
        self.unit: Tensor = 100 / corners.norm(dim=1).clamp(min=1e-3).median()  # percent of the outer-eye distance
        self.eyes = self.points.template[[int(used[:corner].sum()) for corner in OUTER_EYE_CORNERS]]
        self.centre = torch.tensor(seen.centre)
        self.log_focal = math.log(seen.focal)
        self.start_expression = config.expression_start * rig.expression_of(seen.blendshapes)
        self.lowest, self.highest = rig.expression_limits
        self.config = config
        near = seen.times.diff() < config.near
        self.between = 1 + (near[1:] & near[:-1]).nonzero()[:, 0].numpy()  # frames with both neighbours near

    def start(self) -> State:
        """Where the fit begins: heads that face the camera, as far away as their size in the picture says."""
        frames = len(self.seen)
        focal = math.exp(self.log_focal)
        apart = float((self.eyes[0] - self.eyes[1]).norm())
        depth = torch.full((frames,), focal * apart / (100 / float(self.unit)))
        middle = (self.seen.mean(1) - self.centre) * depth[:, None] / focal
        return State(
            rotation=torch.eye(3).expand(frames, 3, 3),
            translation=torch.cat([middle, depth[:, None]], 1),
            expression=self.start_expression.clone(),
            shape=torch.zeros(len(self.points.shape_basis)),
            log_focal=self.log_focal,
        )

    def solve(self, state: State, unknowns: Unknowns) -> State:
        """Take damped Gauss–Newton steps (Levenberg–Marquardt) until they hardly lower the loss."""
        loss, damping = self.loss(state), 1e-3
        for _ in range(self.config.steps):
            system, before = self.system(state, unknowns), loss
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

    def smooth(self, state: State) -> State:
        """Smooth the poses over time: accelerations are weighed against landmark errors, all frames solved at once."""
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
        stiffness = self.config.smoothness / self.config.robust / np.square(POSE_TOLERANCE)
        steady = sparse.kron(bend.T @ bend, sparse.diags_array(stiffness)).tocsc()
        for _ in range(3):
            system = self.system(state, Unknowns.POSES)
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

    def _residuals(self, points: Tensor, log_focal: float) -> Tensor:
        """Errors in the picture of points in camera space (T, L, 3), (T, L, 2) percent of the outer-eye distance."""
        projected = math.exp(log_focal) * points[..., :2] / points[..., 2:].clamp(min=0.05) + self.centre
        return (projected - self.seen) * self.unit

    def errors(self, state: State) -> tuple[Tensor, Tensor]:
        """Mean error in each frame of the landmarks fitted and of those left out, percent, (T,) each.

        The second is empty where none were left out.
        """
        length = self._residuals(self.points.place(state)[1], state.log_focal).norm(dim=2)
        left_out = length[:, self.left_out].mean(1) if self.left_out.any() else torch.zeros(0)
        return length[:, self.fitted].mean(1), left_out

    def loss(self, state: State) -> float:
        """The mean over the frames of the robust error and of the frame's priors, plus the shared priors."""
        config = self.config
        length = self._residuals(self.points.place(state)[1], state.log_focal).norm(dim=2)
        edge = config.robust
        robust = torch.where(length < edge, length**2 / (2 * edge), length - edge / 2)
        outside = state.expression - state.expression.clamp(self.lowest, self.highest)
        total = (robust @ self.weights).mean()
        total = total + config.expression_prior * ((state.expression - self.start_expression) ** 2).sum(1).mean()
        total = total + config.range_penalty * (outside**2).sum(1).mean()
        total = total + config.shape_prior * (state.shape**2).sum()
        return float(total) + config.focal_prior * (state.log_focal - self.log_focal) ** 2

    def system(self, state: State, unknowns: Unknowns) -> System:
        """The Gauss–Newton second derivatives and the gradient of T × loss, by the unknowns that are to change."""
        blocks = []
        for begin in range(0, len(self.seen), FRAMES_AT_ONCE):
            part = slice(begin, begin + FRAMES_AT_ONCE)
            by_frame, by_shared, errors = self._jacobian(state.select(part), self.seen[part], unknowns)
            flat = by_shared.flatten(0, 1)
            blocks.append(
                (
                    by_frame.mT @ by_frame,
                    by_frame.mT @ by_shared,
                    (by_frame.mT @ errors[..., None])[..., 0],
                    flat.mT @ flat,
                    flat.mT @ errors.flatten(),
                )
            )
        own, coupling, own_gradient, shared, shared_gradient = zip(*blocks, strict=True)
        system = System(
            own=torch.cat(own).double(),
            coupling=torch.cat(coupling).double(),
            shared=torch.stack(shared).double().sum(0),
            own_gradient=torch.cat(own_gradient).double(),
            shared_gradient=torch.stack(shared_gradient).double().sum(0),
        )
        self._add_priors(system, state, unknowns)
        return system

    def _add_priors(self, system: System, state: State, unknowns: Unknowns) -> None:
        """Add the priors' second derivatives and gradients to a system, in place."""
        config, frames = self.config, len(self.seen)
        if unknowns.expressive:
            outside = state.expression - state.expression.clamp(self.lowest, self.highest)
            start = state.expression - self.start_expression
            system.own.diagonal(dim1=1, dim2=2)[:, 6:] += 2 * (
                config.expression_prior + config.range_penalty * (outside != 0)
            )
            system.own_gradient[:, 6:] += 2 * (config.expression_prior * start + config.range_penalty * outside)
        if unknowns.shared:
            diagonal = system.shared.diagonal()
            diagonal[:-1] += 2 * frames * config.shape_prior
            diagonal[-1] += 2 * frames * config.focal_prior
            system.shared_gradient[:-1] += 2 * frames * config.shape_prior * state.shape
            system.shared_gradient[-1] += 2 * frames * config.focal_prior * (state.log_focal - self.log_focal)

    def _jacobian(self, state: State, seen: Tensor, unknowns: Unknowns) -> tuple[Tensor, Tensor, Tensor]:
        """Derivatives by the frames' unknowns (t, 2L, P) and by the shared ones (t, 2L, Q), and the errors (t, 2L).

        All are weighted so that half the sum of squares has the gradient of the robust error.
        """
        about, points = self.points.place(state)
        offset, turn, project, inward = project_with_jacobians(about, points, state, self.unit)
        turn = turn + project @ self.points.slide(state)
        errors = (offset + self.centre - seen) * self.unit
        scale = (self.weights / errors.norm(dim=2).clamp(min=self.config.robust)).sqrt()[..., None, None]
        by_frame, by_shared = torch.cat([turn, project], -1), inward[..., :0]
        if unknowns.expressive:
            by_expression = torch.einsum("tlpc,elc->tlpe", inward, self.points.expression_basis)
            by_frame = torch.cat([by_frame, by_expression], -1)
        if unknowns.shared:
            by_shape = torch.einsum("tlpc,klc->tlpk", inward, self.points.shape_basis)
            by_shared = torch.cat([by_shape, offset[..., None] * self.unit], -1)
        by_frame, by_shared = by_frame * scale, by_shared * scale
        return by_frame.flatten(1, 2), by_shared.flatten(1, 2), (errors * scale[..., 0]).flatten(1)

    def _move(self, state: State, system: System, damping: float) -> State:
        """The state after one step: the solution of the damped normal equations."""
        factor = torch.linalg.cholesky(damp(system.own, damping))
        solved = torch.cholesky_solve(torch.cat([system.coupling, system.own_gradient[..., None]], -1), factor)
        reduced = damp(system.shared, damping) - torch.einsum("tpq,tpr->qr", system.coupling, solved[..., :-1])
        gradient = system.shared_gradient - torch.einsum("tpq,tp->q", system.coupling, solved[..., -1])
        shared_step = -torch.linalg.solve(reduced, gradient)
        frame_step = -solved[..., -1] - solved[..., :-1] @ shared_step
        moved = replace(
            state,
            rotation=rodrigues(frame_step[:, :3].float()) @ state.rotation,
            translation=state.translation + frame_step[:, 3:6].float(),
        )
        if frame_step.shape[1] > 6:
            moved = replace(moved, expression=state.expression + frame_step[:, 6:].float())
        if len(shared_step):
            log_focal = state.log_focal + float(shared_step[-1])
            moved = replace(moved, shape=state.shape + shared_step[:-1].float(), log_focal=log_focal)
        return moved


def damp(matrix: Tensor, damping: float) -> Tensor:
    """A matrix (…, P, P) with its diagonal enlarged by a share, as Levenberg and Marquardt damp."""
    return matrix + torch.diag_embed(matrix.diagonal(dim1=-2, dim2=-1) * damping)
