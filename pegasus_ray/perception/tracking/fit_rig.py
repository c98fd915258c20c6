"""Fits the rig to a video's landmarks: one identity and one focal length, a head pose and an expression a frame."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from pegasus_ray.library.track import Floats
from pegasus_ray.perception.observe import Observations
from pegasus_ray.perception.tracking.config import FitRigConfig, PhotometricConfig
from pegasus_ray.perception.tracking.landmark_problem import LandmarkProblem, Stage
from pegasus_ray.perception.tracking.photometric import PhotometricProblem
from pegasus_ray.perception.tracking.rig_state import State
from pegasus_ray.rig.model import Rig, rotation_vectors
from pegasus_ray.schemas.errors import PegasusError, Reason

__all__ = ["FitRigConfig", "PhotometricConfig", "RigFit", "fit_landmarks", "fit_rig"]

Progress = Callable[[str, int, int], None]
STEPS: Final = 4  # poses, shape, all, likeness


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
    report = progress or (lambda *_: None)
    problem = LandmarkProblem(
        rig,
        torch.from_numpy(observations.landmarks),
        torch.from_numpy(observations.blendshapes),
        torch.from_numpy(observations.times),
        observations.centre,
        config.focal * max(observations.width, observations.height) / observations.crop.side,
        config,
    )
    state = _solve(problem, report)
    if config.photometric.rounds:
        report("likeness", 3, STEPS)
        pictures = (observations.images, observations.mattes, observations.parts)
        state = PhotometricProblem(rig, problem, *pictures, config.photometric).refine(state)
    return _answer(problem, state)


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
    problem = LandmarkProblem(rig, landmarks, blendshapes, times, centre, focal, config)
    return _answer(problem, _solve(problem, progress or (lambda *_: None)))


def _solve(problem: LandmarkProblem, report: Progress) -> State:
    state = problem.start()
    for done, stage in enumerate((Stage.POSE, Stage.SHAPE, Stage.ALL)):
        report(stage.name.lower(), done, STEPS)
        state = problem.solve(state, stage)
    return problem.smooth(state)


def _answer(problem: LandmarkProblem, state: State) -> RigFit:
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
