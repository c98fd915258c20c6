"""Configuration of a fit."""

from __future__ import annotations

from dataclasses import dataclass, field

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fit.field_losses import FieldWeights
from pegasus_ray.avatar.fit.losses import LossWeights
from pegasus_ray.avatar.fit.perceptual import NAMES, NONE
from pegasus_ray.avatar.points.initialize import PointBudget
from pegasus_ray.schemas.errors import PegasusError, Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One resolution of the fit."""

    scale: float  # of the track's side
    steps: int
    points: int = 0  # grown to at the start of the stage, after pruning
    per_pixel: int = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningRates:
    """Adam's rates at the start of each stage, a step."""

    offsets: float = 1.5e-4  # metres
    log_radii: float = 6e-3
    opacity_logits: float = 2e-2
    albedo: float = 6e-3
    position_basis: float = 2e-5  # metres
    colour_basis: float = 1e-3
    lights: float = 2e-3
    head: float = 3e-4  # radians; translations move by METRES_A_RADIAN of it
    torso: float = 1e-3  # radians
    expression: float = 2e-3
    networks: float = 1e-4  # of the preset `paper`, as the next
    codes: float = 5e-4
    grid: float = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """A fit: of explicit points on the rig (preset `fast`), or of fields over them (preset `paper`)."""

    stages: tuple[Stage, ...] = (
        Stage(scale=0.5, steps=250),  # a longer look at small pictures costs the face its detail
        Stage(scale=1.0, steps=1500, points=18000),
    )
    budget: PointBudget = field(default_factory=PointBudget)
    weights: LossWeights = field(default_factory=LossWeights)
    rates: LearningRates = field(default_factory=LearningRates)
    fields: FieldConfig | None = None  # with it the preset is `paper`
    field_weights: FieldWeights = field(default_factory=FieldWeights)
    perceptual: str = NONE  # vgg16, efficientnet-lite0 or none
    batch: int = 1  # frames of one code a step
    settle_steps: int = 200  # of fields, to the points' first colours, before any picture is drawn
    codes_from: float = 0.1  # share of the fit after which codes are stepped
    watch_every: int = 0  # steps between looks at frames held out of the fit's own; 0 holds out none
    patience: int = 3  # looks without gain after which a stage ends
    motion_components: int = 14
    motion_noise: float = 0.2
    refine_tracking: bool = True  # pose and expression of the fitted frames move a little while the avatar is learned
    refine_from: float = 0.4  # share of the fit after which they do: before, the avatar is too coarse to say where
    tracking_prior: float = 1.0
    evidence_frames: int = 24  # frames looked at to carve, prune and label
    checkpoint_every: int = 500  # steps
    seed: int = 0
    threads: int = 1  # beside other fits on the same cores one thread a fit is far faster than several

    def __post_init__(self) -> None:
        if self.perceptual not in NAMES:
            raise PegasusError(Reason.BAD_CONFIG, f"is none of {', '.join(NAMES)}", subject="fit.perceptual")
        if self.batch < 1:
            raise PegasusError(Reason.BAD_CONFIG, "a step needs one frame at least", subject="fit.batch")
        if not self.stages or any(stage.steps < 1 or not 0 < stage.scale <= 1 for stage in self.stages):
            raise PegasusError(
                Reason.BAD_CONFIG, "a fit needs stages of at least one step and a scale in (0, 1]", subject="fit.stages"
            )
