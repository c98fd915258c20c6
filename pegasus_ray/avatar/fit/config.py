"""Configuration of a fit."""

from __future__ import annotations

from dataclasses import dataclass, field

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.avatar.fit.losses import FieldWeights, LossWeights
from pegasus_ray.avatar.fit.perceptual import NONE, PERCEPTUAL_NAMES
from pegasus_ray.schemas.errors import PegasusError, Reason

MIN_SIDE_PIXELS = 32
"""No resolution is smaller than this: the head would be a few pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """One resolution of a fit, coarse to fine (the setting `stages`)."""

    scale: float  # of the track's side
    steps: int
    points: int = 0  # points to grow to at its start, after pruning; none are added if there are more
    per_pixel: int = 16  # nearest points that are blended in a pixel

    def side(self, full: int) -> int:
        """Side of the frames in pixels, for a track whose side is `full` pixels."""
        return max(MIN_SIDE_PIXELS, round(full * self.scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """Adam's learning rates, at the start of each resolution."""

    offsets: float = 1.5e-4  # metres
    log_radii: float = 6e-3
    opacity_logits: float = 2e-2
    albedo: float = 6e-3
    position_basis: float = 2e-5  # metres
    colour_basis: float = 1e-3
    lights: float = 2e-3
    head: float = 3e-4  # radians; translations move by `METRES_PER_RADIAN` of it
    torso: float = 1e-3  # radians
    expression: float = 2e-3
    networks: float = 1e-4  # this and the next two: only where fields are fitted
    codes: float = 5e-4
    grid: float = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """A fit: of explicit points on the rig (preset `fast`), or of fields over them (preset `paper`)."""

    stages: tuple[Resolution, ...] = (
        Resolution(scale=0.5, steps=250),  # more steps on small frames would cost the face its detail
        Resolution(scale=1.0, steps=1500, points=18000),
    )
    budget: PointBudget = field(default_factory=PointBudget)
    weights: LossWeights = field(default_factory=LossWeights)
    rates: LearningRates = field(default_factory=LearningRates)
    fields: FieldConfig | None = None  # with it fields are fitted, as in the preset `paper`
    field_weights: FieldWeights = field(default_factory=FieldWeights)
    perceptual: str = NONE  # vgg16, efficientnet-lite0 or none
    batch: int = 1  # frames of one code in a step
    settle_steps: int = 200  # steps that pretrain fields on the points' first colours, before anything is drawn
    codes_from: float = 0.1  # share of the fit after which codes are learned too
    watch_every: int = 0  # steps between evaluations on frames held out of the fit's own; 0 holds out none
    patience: int = 3  # evaluations without gain after which a resolution ends
    motion_components: int = 14  # of the motion code
    motion_noise: float = 0.2  # deviation of the noise on motion codes, so that bases do not overfit single frames
    refine_tracking: bool = True  # correct pose and expression of the fitted frames while the avatar is learned
    refine_from: float = 0.4  # share of the fit after which that begins; before, the avatar is too coarse for it
    tracking_prior: float = 1.0  # weight of the corrections' size in the loss
    evidence_frames: int = 24  # frames looked at to carve and to label points; twice as many to prune them
    checkpoint_every: int = 500  # steps
    seed: int = 0
    threads: int = 1  # when several fits share the cores, one thread each is far faster than several

    def __post_init__(self) -> None:
        if self.perceptual not in PERCEPTUAL_NAMES:
            raise PegasusError(Reason.BAD_CONFIG, f"is none of {', '.join(PERCEPTUAL_NAMES)}", subject="fit.perceptual")
        if self.batch < 1:
            raise PegasusError(Reason.BAD_CONFIG, "a step needs one frame at least", subject="fit.batch")
        if not self.stages or any(stage.steps < 1 or not 0 < stage.scale <= 1 for stage in self.stages):
            raise PegasusError(
                Reason.BAD_CONFIG, "a fit needs stages of at least one step and a scale in (0, 1]", subject="fit.stages"
            )
