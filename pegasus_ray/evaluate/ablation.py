"""`evaluate ablation`: the paper's Table 3 (stages of canonical space) on studio people.

One person is filmed as they are and with attributes of others. One model, with a code for each video, is fitted to all videos
and drawn on performances that no fit has seen. The variants differ in switches of the fields alone; steps and seeds are equal.

Legend: T frames, S side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import nn

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.fit.coded_frames import CodedFrames
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.loop import FitContext, fit_avatar
from pegasus_ray.avatar.fit.perceptual import extract_features, perceptual_loss
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.library.track import Track
from pegasus_ray.render.metrics import psnr, ssim
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import PART_OF_LABEL, Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import perceptual_network
from pegasus_ray.studio.counterfactual import swap_attribute
from pegasus_ray.studio.film.render import render_track
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.sampling import sample_person

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "no_offsets": {"subject_stage": False, "rig_stage": False},
        "one_stage": {"subject_stage": False, "rig_stage": True},
        "full": {"subject_stage": True, "rig_stage": True},
        "full_bone_normals": {"subject_stage": True, "rig_stage": True, "field_normals": False},
        "full_unanchored": {"subject_stage": True, "rig_stage": True, "anchored": False},
    }
)
"""What each variant sets in `FieldConfig`: the three rows of Table 3, in its order (O_gc × O_sc ×, × ✓, ✓ ✓), and two of ours."""

PAPER_VARIANTS = ("no_offsets", "one_stage", "full")
"""The variants of the paper's Table 3."""
FPS = 12.5
"""Frames a second of the videos."""
MATTE_MARGIN_PIXELS = 2
"""Pixels by which the matte is dilated before the pixels inside it are compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationConfig:
    """How many videos, steps and seeds the ablation has."""

    size: int = 96  # side of the pictures, pixels
    frames: int = 40  # of each video
    unseen: int = 8  # frames of the performance that is compared, one for each video
    attributes: tuple[Attribute, ...] = (Attribute.HAIR, Attribute.NOSE, Attribute.MOUTH)  # a further video each
    steps: int = 300  # of each fit, in the preset's proportion of stages
    seeds: int = 3
    person: int = 900  # seed of the studio person; those with the next seeds lend the attributes
    perceptual: str = "efficientnet-lite0"  # the network of the perceptual distance that is reported


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """All videos of a person joined one after the other, and the performances that no fit has seen."""

    seen: Track
    coded: CodedFrames
    unseen: tuple[Track, ...]  # one for each code


def film_person(config: AblationConfig) -> Films:
    """Film the person as they are and with each attribute of somebody else; all tracks have the person's own shape."""
    own = sample_person(config.person)
    lenders = [sample_person(config.person + number) for number in range(1, len(config.attributes) + 1)]
    borrowers = [swap_attribute(own, part, other) for part, other in zip(config.attributes, lenders, strict=True)]
    codes: list[dict[str, int]] = [{}, *({part.value: 1} for part in config.attributes)]
    shape = np.asarray(own.shape, dtype=np.float32)

    def film(frames: int, first_seed: int) -> list[Track]:
        """A video of each, performing by seeds of their own."""
        tracks = [
            render_track(someone, perform(someone, frames, FPS, first_seed + number), size=config.size)
            for number, someone in enumerate([own, *borrowers])
        ]
        return [replace(track, shape=shape) for track in tracks]

    seen = film(config.frames, 10 * config.person)
    masks = [_borrowed_masks(track, part) for track, part in zip(seen, (None, *config.attributes), strict=True)]
    coded = CodedFrames(
        source=own.name,
        video=torch.arange(len(seen)).repeat_interleave(config.frames),
        codes=tuple(codes),
        masks=torch.from_numpy(np.concatenate(masks)),
    )
    return Films(seen=_join(seen), coded=coded, unseen=tuple(film(config.unseen, 10 * config.person + 500)))


def run_ablation(
    config: AblationConfig,
    fit: FitConfig,
    variants: Sequence[str] = PAPER_VARIANTS,
    *,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fit every variant with every seed, and compare with the truth.

    Returns:
        for each variant `psnr` (dB), `ssim`, both inside the dilated matte, and `perceptual`, each [mean, standard deviation
        over seeds]; `perceptual_model`, `steps`, `frames`, `seeds`. Without a perceptual model, `perceptual` is missing.

    Raises:
        PegasusError: BAD_CONFIG for an unknown variant, or a preset without fields; ASSET_MISSING without the weights of the
            perceptual network.
    """
    if unknown := [name for name in variants if name not in VARIANTS]:
        raise PegasusError(Reason.BAD_CONFIG, f"is no variant; there are {', '.join(VARIANTS)}", subject=unknown[0])
    if fit.fields is None:
        raise PegasusError(Reason.BAD_CONFIG, "has no fields to ablate; use --preset paper-small", subject="fit.fields")
    network = perceptual_network(config.perceptual)
    films = film_person(config)
    answer: dict[str, Any] = {}
    total = len(variants) * config.seeds
    for row, name in enumerate(variants):
        scores = []
        for seed in range(config.seeds):
            if progress:
                progress((row * config.seeds + seed) / total, f"{name}, seed {seed}")
            varied = replace(_with_steps(fit, config.steps), seed=seed, fields=replace(fit.fields, **VARIANTS[name]))
            context = FitContext(perceptual=perceptual_network(fit.perceptual))
            made = fit_avatar(films.seen, load_rig(films.seen.rig), varied, coded=films.coded, context=context)
            assert made.fields is not None
            scores.append(_score(made.fields, films, network))
        table = np.asarray(scores)
        answer[name] = {
            key: [round(float(table[:, column].mean()), 4), round(float(table[:, column].std()), 4)]
            for column, key in enumerate(("psnr", "ssim", "perceptual"))
            if key != "perceptual" or network is not None
        }
    frames = sum(len(track) for track in films.unseen)
    return answer | {
        "perceptual_model": config.perceptual,
        "steps": config.steps,
        "frames": frames,
        "seeds": config.seeds,
    }


def _with_steps(fit: FitConfig, steps: int) -> FitConfig:
    """The same stages with `steps` steps in all, shared out in the same proportion."""
    whole = sum(stage.steps for stage in fit.stages)
    return replace(
        fit, stages=tuple(replace(stage, steps=max(stage.steps * steps // whole, 1)) for stage in fit.stages)
    )


def _score(made: Fields, films: Films, network: nn.Module | None) -> tuple[float, float, float]:
    """PSNR (dB), SSIM and perceptual distance, means over all unseen frames."""
    rig, scores = load_rig(films.seen.rig), []
    for code, track in zip(films.coded.codes, films.unseen, strict=True):
        points, frames = made.canonical(rig, code=code), FrameSet.of(track, track.size)
        for index in range(len(track)):
            with torch.no_grad():
                drive = frames.drive(made.points, torch.tensor([index]))
                image = render_points(points, rig, drive, track.size, per_pixel=24).image.clamp(0, 1)
                truth = frames.images[index : index + 1]
                matte = (frames.mattes[index] > 0.5).float()[None, None]
                margin = MATTE_MARGIN_PIXELS
                inside = nn.functional.max_pool2d(matte, 2 * margin + 1, stride=1, padding=margin)[0]
                far = (
                    0.0
                    if network is None
                    else float(perceptual_loss(extract_features(network, image), extract_features(network, truth)))
                )
                near = float(ssim(image.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2), inside))
                scores.append((float(psnr(image, truth, inside)), near, far))
    mean = np.mean(scores, axis=0)
    return float(mean[0]), float(mean[1]), float(mean[2])


def _borrowed_masks(track: Track, part: Attribute | None) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Masks (T, S, S) of the borrowed part, 1 inside; empty for the person's own video."""
    labels = [] if part is None else [label for label, owner in PART_OF_LABEL.items() if owner is part.part]
    return np.isin(track.parts, labels).astype(np.float32)


def _join(tracks: Sequence[Track]) -> Track:
    """Tracks of one person and shape as one track, the frames one after the other."""
    first = tracks[0]
    joined: dict[str, Any] = {}
    for own in fields(Track):
        values = [getattr(track, own.name) for track in tracks]
        if isinstance(values[0], np.ndarray) and own.name not in ("shape", "identity"):
            joined[own.name] = np.concatenate(values)
    return replace(first, **joined)
