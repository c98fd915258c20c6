"""Settings for fitting the rig to a video."""

from __future__ import annotations

from dataclasses import dataclass, field

from pegasus_ray.schemas.errors import PegasusError, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotometricConfig:
    """How the pictures refine the fit to the landmarks."""

    rounds: int = 4  # of averaging the frames and moving each towards the mean; 0 leaves the landmarks' fit as it is
    points: int = 3000  # N
    weight: float = 1.5  # of the pictures relative to the landmarks
    fine: float = 0.015  # outer-eye distances: details finer than this are blurred away
    coarse: float = 0.1  # outer-eye distances: shading coarser than this is taken out
    least_seen: float = 0.2  # share of the frames that must show a point

    def __post_init__(self) -> None:
        if self.rounds < 0 or self.points < 100 or self.weight <= 0 or not 0 < self.fine < self.coarse:
            raise PegasusError(
                Reason.BAD_CONFIG, "needs rounds ≥ 0, points ≥ 100, weight > 0, fine < coarse", subject=str(self)
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRigConfig:
    """Weights are relative to the mean squared error of the landmarks in percent of the distance of the outer eye corners."""

    shape_prior: float = 0.005  # pull of each identity axis towards 0
    expression_prior: float = 0.1  # pull of each expression towards its starting value
    expression_start: float = 0.7  # the starting value as a share of the blendshape score
    range_penalty: float = 5.0  # on what an expression lies outside of 0–1
    focal: float = 1.6  # likely focal length in longer sides of the video's picture
    focal_prior: float = 0.1  # pull of its logarithm towards that
    robust: float = 2.0  # percent; from here on an error counts linearly (Huber)
    smoothness: float = 0.1  # pull of the pose towards the mean of both neighbours in time
    near: float = 0.12  # seconds; frames farther apart are no neighbours
    steps: int = 10  # of Gauss–Newton, at most, for each set of unknowns
    settled: float = 1e-4  # share of the loss; a solve ends when a step gains less
    photometric: PhotometricConfig = field(default_factory=PhotometricConfig)
    every_fifth_left_out: bool = False  # keep every fifth landmark out of the fit, to judge it

    def __post_init__(self) -> None:
        for name in ("shape_prior", "expression_prior", "focal", "robust"):
            if getattr(self, name) <= 0:
                raise PegasusError(Reason.BAD_CONFIG, "must be positive", subject=f"{name}={getattr(self, name)}")
