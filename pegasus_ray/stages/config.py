"""The configurations of all stages in one, and the presets: named sets of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.fit.config import FitConfig, LearningRates, Resolution
from pegasus_ray.avatar.fit.initialize import PointBudget
from pegasus_ray.avatar.fit.losses import FieldWeights
from pegasus_ray.avatar.generative.fit import GenerativeConfig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.stages.personalize import PersonalizeConfig
from pegasus_ray.stages.swap import SwapConfig
from pegasus_ray.stages.track import TrackConfig
from pegasus_ray.stages.transfer import TransferConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """What `--config` and `--set` change, by names such as `track.observe.size` and `fit.seed`."""

    track: TrackConfig = field(default_factory=TrackConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    swap: SwapConfig = field(default_factory=SwapConfig)
    personalize: PersonalizeConfig = field(default_factory=PersonalizeConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)


def preset(name: str) -> PipelineConfig:
    """The settings of a preset.

    Raises:
        PegasusError: BAD_CONFIG for an unknown name.
    """
    if name not in PRESETS:
        raise PegasusError(Reason.BAD_CONFIG, f"is no preset; there are {', '.join(PRESETS)}", subject=name)
    return PRESETS[name]


FAST = PipelineConfig()
"""Explicit points on the rig: minutes per person on two cores."""

DRAFT = replace(
    FAST,
    fit=FitConfig(
        stages=(
            Resolution(scale=0.5, steps=250),
            Resolution(scale=0.75, steps=250, points=10000),
            Resolution(scale=1.0, steps=400, points=15000, per_pixel=14),
        )
    ),
    swap=SwapConfig(frames=16),
    personalize=PersonalizeConfig(fit=GenerativeConfig(target_steps=80, swap_steps=350), own_frames=40),
)
"""`FAST` with a fraction of the steps, for a first look and for small pictures."""

PAPER = replace(
    FAST,
    fit=FitConfig(
        stages=(
            Resolution(scale=0.25, steps=1500, per_pixel=10),
            Resolution(scale=0.5, steps=3000, points=24000, per_pixel=10),
            Resolution(scale=1.0, steps=6000, points=48000, per_pixel=10),
            Resolution(scale=1.0, steps=9000, points=96000, per_pixel=10),
        ),
        fields=FieldConfig(grid_levels=3, free_discs=True),
        perceptual="vgg16",
        batch=8,
        watch_every=1000,
    ),
    personalize=PersonalizeConfig(
        fields=FitConfig(
            stages=(Resolution(scale=0.5, steps=3000, per_pixel=10), Resolution(scale=1.0, steps=20000, per_pixel=10)),
            fields=FieldConfig(subject_stage=True, own_looks=True, grid_levels=3),
            perceptual="vgg16",
            batch=8,
            settle_steps=2000,
            refine_tracking=False,
        )
    ),
)
"""The paper's fields at the reference's sizes, for a GPU."""

SMALL_FIELDS = FieldConfig(
    field_width=64,
    field_depth=4,
    field_skip=2,
    deformer_width=48,
    deformer_depth=3,
    shading_width=32,
    grid_levels=3,
    free_discs=True,
    field_normals=False,
    chunk=65536,
)

PAPER_SMALL = replace(
    FAST,
    fit=FitConfig(
        stages=(
            Resolution(scale=0.5, steps=250),
            Resolution(scale=1.0, steps=150, points=11000),
        ),
        budget=PointBudget(surface=5000, hair=2500, cloth=1800),
        field_weights=FieldWeights(square=3.0, edges=0.5),
        fields=SMALL_FIELDS,
        rates=LearningRates(networks=2e-3, codes=1e-3),
        batch=2,
    ),
    personalize=PersonalizeConfig(
        fields=FitConfig(
            stages=(Resolution(scale=0.5, steps=60, per_pixel=12), Resolution(scale=1.0, steps=240, per_pixel=12)),
            fields=replace(SMALL_FIELDS, subject_stage=True, own_looks=True, free_discs=False),
            rates=LearningRates(networks=1e-3, codes=1e-3),
            batch=2,
            refine_tracking=False,
            checkpoint_every=50,
        )
    ),
)
"""The fields of `PAPER`, narrower and shallower, for two cores."""

PRESETS: Mapping[str, PipelineConfig] = {"fast": FAST, "draft": DRAFT, "paper": PAPER, "paper-small": PAPER_SMALL}
