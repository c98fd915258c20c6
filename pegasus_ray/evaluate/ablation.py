"""evaluate ablation: the paper's Table 3 (stages of canonical space) on studio people.

One person is filmed as they are and with attributes of others; a model with a code a video is fitted to all, and drawn on
performances that no fit has seen. The variants differ in one switch and have the same steps and seeds.

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
from pegasus_ray.avatar.fit.coded_frames import Clips
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.loop import fit_avatar
from pegasus_ray.avatar.fit.perceptual import look, perceptual_loss
from pegasus_ray.avatar.points.canonical import render_points
from pegasus_ray.avatar.points.frames import FrameSet
from pegasus_ray.library.track import Track
from pegasus_ray.render.metrics import psnr, ssim
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import PART_OF_LABEL, Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import perceptual_network
from pegasus_ray.studio.film.render import render
from pegasus_ray.studio.motion import perform
from pegasus_ray.studio.people import person, swap_parts

VARIANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "no_offsets": {"subject_stage": False, "rig_stage": False},
        "one_stage": {"subject_stage": False, "rig_stage": True},
        "full": {"subject_stage": True, "rig_stage": True},
        "full_bone_normals": {"subject_stage": True, "rig_stage": True, "field_normals": False},
        "full_unanchored": {"subject_stage": True, "rig_stage": True, "anchored": False},
    }
)
"""The three rows of Table 3, in its order (O_gc × O_sc ×, × ✓, ✓ ✓), and two switches of ours."""

TABLE = ("no_offsets", "one_stage", "full")
FPS = 12.5


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationConfig:
    """How large the exam is."""

    size: int = 96
    frames: int = 40  # of each video
    unseen: int = 8  # of each video's second performance
    attributes: tuple[Attribute, ...] = (Attribute.HAIR, Attribute.NOSE, Attribute.MOUTH)
    steps: int = 300  # of a fit, spread over the stages as the preset has them
    seeds: int = 3
    person: int = 900  # the studio person; others lend from the next numbers on
    perceptual: str = "efficientnet-lite0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Films:
    """What is filmed: all videos of a person end to end, and their unseen performances."""

    seen: Track
    clips: Clips
    unseen: tuple[Track, ...]  # one a code


def film_person(config: AblationConfig) -> Films:
    """The person as they are and with each attribute of somebody else; the shape of all is the person's own."""
    own = person(config.person)
    people = [own]
    people += [swap_parts(own, part, person(config.person + 1 + place)) for place, part in enumerate(config.attributes)]
    codes: list[dict[str, int]] = [{}, *({part.value: 1} for part in config.attributes)]
    shape = np.asarray(own.shape, dtype=np.float32)

    def films(frames: int, chance: int) -> list[Track]:
        made = [
            render(who, perform(who, frames, FPS, chance + place), size=config.size) for place, who in enumerate(people)
        ]
        return [replace(track, shape=shape) for track in made]

    seen = films(config.frames, 10 * config.person)
    masks = [_mask(track, part) for track, part in zip(seen, (None, *config.attributes), strict=True)]
    clips = Clips(
        source=own.name,
        of=torch.arange(len(seen)).repeat_interleave(config.frames),
        codes=tuple(codes),
        masks=torch.from_numpy(np.concatenate(masks)),
    )
    return Films(seen=_end_to_end(seen), clips=clips, unseen=tuple(films(config.unseen, 10 * config.person + 500)))


def run_ablation(
    config: AblationConfig, fit: FitConfig, variants: Sequence[str] = TABLE, *, progress: Progress | None = None
) -> dict[str, Any]:
    """Fit every variant with every seed, and compare with the truth.

    Returns:
        per variant `psnr` (dB), `ssim`, both inside the dilated matte, and `perceptual`, each [mean, standard deviation
        over seeds]; `perceptual_model`, `steps`, `frames`. Without a perceptual model, `perceptual` is missing.

    Raises:
        PegasusError: BAD_CONFIG for a variant that there is not, or a preset without fields; ASSET_MISSING without the weights of
            the perceptual network.
    """
    if unknown := [name for name in variants if name not in VARIANTS]:
        raise PegasusError(Reason.BAD_CONFIG, f"is no variant; there are {', '.join(VARIANTS)}", subject=unknown[0])
    if fit.fields is None:
        raise PegasusError(Reason.BAD_CONFIG, "has no fields to ablate; use --preset paper-small", subject="fit.fields")
    network = perceptual_network(config.perceptual)
    films = film_person(config)
    answer: dict[str, Any] = {}
    total = len(variants) * config.seeds
    for place, name in enumerate(variants):
        scores = []
        for seed in range(config.seeds):
            if progress:
                progress((place * config.seeds + seed) / total, f"{name}, seed {seed}")
            varied = replace(_shortened(fit, config.steps), seed=seed, fields=replace(fit.fields, **VARIANTS[name]))
            made = fit_avatar(films.seen, load_rig(films.seen.rig), varied, clips=films.clips, perceptual=_term(fit))
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


def _term(fit: FitConfig) -> nn.Module | None:
    """The network of the fit's own perceptual term."""
    return perceptual_network(fit.perceptual)


def _shortened(fit: FitConfig, steps: int) -> FitConfig:
    """The same stages in so many steps in all."""
    whole = sum(stage.steps for stage in fit.stages)
    return replace(
        fit, stages=tuple(replace(stage, steps=max(stage.steps * steps // whole, 1)) for stage in fit.stages)
    )


def _score(made: Fields, films: Films, network: nn.Module | None) -> tuple[float, float, float]:
    """Means over all unseen frames of PSNR, SSIM and perceptual distance."""
    rig, scores = load_rig(films.seen.rig), []
    for code, track in zip(films.clips.codes, films.unseen, strict=True):
        points, frames = made.canonical(rig, code=code), FrameSet.of(track, track.size)
        for index in range(len(track)):
            with torch.no_grad():
                drive = frames.drive(made.points, torch.tensor([index]))
                image = render_points(points, rig, drive, track.size, per_pixel=24, full=False).image.clamp(0, 1)
                truth = frames.images[index : index + 1]
                inside = nn.functional.max_pool2d((frames.mattes[index] > 0.5).float()[None, None], 5, 1, 2)[0]
                far = 0.0 if network is None else float(perceptual_loss(look(network, image), look(network, truth)))
                near = float(ssim(image.permute(0, 3, 1, 2), truth.permute(0, 3, 1, 2), inside))
                scores.append((float(psnr(image, truth, inside)), near, far))
    mean = np.mean(scores, axis=0)
    return float(mean[0]), float(mean[1]), float(mean[2])


def _mask(track: Track, part: Attribute | None) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Where the borrowed part is, (T, S, S); nowhere in the person's own video."""
    labels = [] if part is None else [label for label, owner in PART_OF_LABEL.items() if owner is part.part]
    return np.isin(track.parts, labels).astype(np.float32)


def _end_to_end(tracks: Sequence[Track]) -> Track:
    """Several videos of one person and shape as one."""
    first = tracks[0]
    joined: dict[str, Any] = {}
    for own in fields(Track):
        values = [getattr(track, own.name) for track in tracks]
        if isinstance(values[0], np.ndarray) and own.name not in ("shape", "identity"):
            joined[own.name] = np.concatenate(values)
    return replace(first, **joined)
