"""Fits the rig to a video: one identity and one focal length, and a head pose and an expression for each frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch

from pegasus_ray.perception.nets.square import Floats
from pegasus_ray.perception.observe import Observations
from pegasus_ray.perception.tracking.config import FitRigConfig, PhotometricConfig
from pegasus_ray.perception.tracking.landmark_problem import LandmarkProblem, LandmarkSequence, Unknowns
from pegasus_ray.perception.tracking.photometric import PhotometricProblem
from pegasus_ray.perception.tracking.rig_state import State
from pegasus_ray.rig.model import Rig, rotation_vectors
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.progress import Progress

__all__ = ["FitRigConfig", "PhotometricConfig", "RigFit", "fit_landmarks", "fit_rig"]

_SOLVES: Final = (
    ("poses", Unknowns.POSES),
    ("poses and identity", Unknowns.POSES_AND_IDENTITY),
    ("poses, identity and expressions", Unknowns.ALL),
)
"""Name and unknowns of each solve, in order. Solving for all unknowns at once would end in a poor local minimum."""
_STEPS: Final = len(_SOLVES) + 1  # the last is the photometric refinement


@dataclass(frozen=True, slots=True, kw_only=True)
class RigFit:
    """The rig's parameters of a video, as in `Track`."""

    shape: Floats  # (K,)
    expression: Floats  # (T, E)
    head: Floats  # (T, 6)
    camera: Floats  # (T, 3)
    error: Floats  # (T,) mean reprojection error of the landmarks fitted, percent of the outer-eye distance
    left_out_error: Floats  # (T,) the same for the landmarks left out; empty where none were


def fit_rig(
    observations: Observations, rig: Rig, config: FitRigConfig | None = None, progress: Progress | None = None
) -> RigFit:
    """The rig's parameters of an observed video: fitted to its landmarks, then refined by its pictures.

    Args:
        observations: the video.
        rig: what is fitted.
        config: weights of errors and priors.
        progress: told the share done and a short text before each step.

    Raises:
        PegasusError: DIVERGED where no finite fit was found.
    """
    config = config or FitRigConfig()
    report = progress or (lambda share, text: None)
    seen = LandmarkSequence(
        landmarks=torch.from_numpy(observations.landmarks),
        blendshapes=torch.from_numpy(observations.blendshapes),
        times=torch.from_numpy(observations.times),
        centre=observations.centre,
        focal=config.focal * max(observations.width, observations.height) / observations.crop.side,
    )
    problem = LandmarkProblem(rig, seen, config)
    state = _solve(problem, report)
    if config.photometric.rounds:
        report(len(_SOLVES) / _STEPS, "refinement by pictures")
        state = PhotometricProblem(rig, problem, observations.frames, config.photometric).refine(state)
    return _fit_of(problem, state)


def fit_landmarks(rig: Rig, seen: LandmarkSequence, config: FitRigConfig) -> RigFit:
    """The rig's parameters from landmarks alone; see `fit_rig`.

    Raises:
        PegasusError: DIVERGED where no finite fit was found.
    """
    problem = LandmarkProblem(rig, seen, config)
    return _fit_of(problem, _solve(problem, lambda share, text: None))


def _solve(problem: LandmarkProblem, report: Progress) -> State:
    state = problem.start()
    for done, (text, unknowns) in enumerate(_SOLVES):
        report(done / _STEPS, text)
        state = problem.solve(state, unknowns)
    return problem.smooth(state)


def _fit_of(problem: LandmarkProblem, state: State) -> RigFit:
    """The result, refused where it is not finite."""
    if not math.isfinite(problem.loss(state)):
        raise PegasusError(Reason.DIVERGED, "the rig could not be fitted to the landmarks; give a clearer video")
    error, left_out = problem.errors(state)
    pose = torch.cat([rotation_vectors(state.rotation), state.translation], 1)
    camera = torch.cat([torch.tensor([math.exp(state.log_focal)]), problem.centre]).expand(len(pose), 3)
    return RigFit(
        shape=state.shape.numpy(),
        expression=state.expression.numpy(),
        head=pose.numpy(),
        camera=camera.contiguous().numpy(),
        error=error.numpy(),
        left_out_error=left_out.numpy(),
    )
