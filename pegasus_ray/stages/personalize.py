"""personalize: the target's avatar and part-swapped frames become a generative avatar (paper §4.1, §4.3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from pegasus_ray.avatar.borrow.parts import has_attribute
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.loop import FitContext
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.generative.clips import CodedClip
from pegasus_ray.avatar.generative.field_fit import fit_field_generative
from pegasus_ray.avatar.generative.fit import GenerativeConfig, fit_generative
from pegasus_ray.avatar.generative.initialise import initialise_generative
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.frames import Parameters
from pegasus_ray.library.swaps import Swap
from pegasus_ray.library.track import Track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.rig.model import Rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.fit import perceptual_network


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalizeConfig:
    """How a generative avatar is trained."""

    fit: GenerativeConfig = field(default_factory=GenerativeConfig)
    fields: FitConfig | None = None  # if given, the paper's model is trained; its first stage is on the target alone
    synthesis: bool = True  # false is the paper's ablation: train on whole videos of the lenders instead of swaps
    own_frames: int = 120  # of the target's own, evenly spaced
    least_quality: float = 0.3  # swapped frames under this score stay out of training

    def __post_init__(self) -> None:
        if self.fields is not None and (self.fields.fields is None or len(self.fields.stages) < 2):
            message = "needs sizes of the networks, and a stage for the target alone before one for all swaps"
            raise PegasusError(Reason.BAD_CONFIG, message, subject="personalize.fields")

    @property
    def training(self) -> GenerativeConfig | FitConfig:
        """The configuration of the training that is done."""
        return self.fields or self.fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Personalized:
    """A generative avatar and how its training went."""

    avatar: GenerativeAvatar
    figures: dict[str, float]


def personalize(
    track: Track,
    target_avatar: Avatar,
    swaps: Sequence[Swap],
    avatars: Mapping[str, Avatar],
    config: PersonalizeConfig,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Personalized:
    """Train a generative avatar of the target.

    Args:
        track: the target's video after perception.
        target_avatar: the target's own avatar.
        swaps: part-swapped frames of this target.
        avatars: the lending avatars by the keys that the swaps name.
        config: how to train.
        progress: told the share done and a short text.
        checkpoint: a file to resume from and to save to.

    Raises:
        PegasusError: BAD_REFERENCE where a swap's avatar is missing; TOO_FEW_FRAMES where no swapped frame is good enough.
    """
    rig = load_rig(track.rig)
    kept = [(swap, frames) for swap in swaps if len(frames := good_frames(swap, config.least_quality)) > 0]
    if swaps and not kept:
        raise PegasusError(
            Reason.TOO_FEW_FRAMES,
            "no swapped frame reaches personalize.least_quality; look at the report's swaps",
            subject=track.source,
        )
    sources: dict[Attribute, list[tuple[str, Avatar]]] = {}
    for swap, _ in kept:
        if swap.avatar not in avatars:
            raise PegasusError(
                Reason.BAD_REFERENCE,
                "a swap was made with this avatar, but it is not there; build it again",
                subject=swap.avatar,
            )
        sources.setdefault(swap.attribute, []).append((swap.avatar, avatars[swap.avatar]))
    ordered = {attribute: sources[attribute] for attribute in Attribute if attribute in sources}
    clips = [own_clip(track, config.own_frames), *(swap_clip(swap, frames) for swap, frames in kept)]
    context = FitContext(progress=progress, checkpoint=checkpoint)
    return _fit(_StartingAvatars(target_avatar, ordered), clips, rig, config, context)


def personalize_unswapped(
    track: Track,
    target_avatar: Avatar,
    people: Mapping[str, tuple[Track, Avatar]],
    config: PersonalizeConfig,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> Personalized:
    """The ablation without synthesis: the same model trained on whole videos (paper §6.2, Table 2).

    Every person has an identity code, and a code in each block whose part they show. No picture shows a person's part on another.

    Args:
        track: the target's video after perception.
        target_avatar: the target's own avatar.
        people: the lenders' tracks and avatars by the names that their codes get.
        config: how to train.
        progress: told the share done and a short text.
        checkpoint: a file to resume from and to save to.
    """
    rig = load_rig(track.rig)
    sources = {
        attribute: [(name, avatar) for name, (_, avatar) in people.items() if has_attribute(avatar, attribute)]
        for attribute in Attribute
    }
    shown = {attribute: lenders for attribute, lenders in sources.items() if lenders}
    whole = [(name, avatar) for name, (_, avatar) in people.items()]
    clips = [own_clip(track, config.own_frames)]
    for name, (video, avatar) in people.items():
        worn = {attribute: name for attribute in shown if has_attribute(avatar, attribute)}
        clips.append(replace(own_clip(video, config.own_frames), sources=worn, identity=name))
    context = FitContext(progress=progress, checkpoint=checkpoint)
    return _fit(_StartingAvatars(target_avatar, shown, whole), clips, rig, config, context)


@dataclass(frozen=True, slots=True)
class _StartingAvatars:
    """The avatars that a generative avatar is initialised from."""

    target: Avatar
    sources: Mapping[Attribute, Sequence[tuple[str, Avatar]]]
    people: Sequence[tuple[str, Avatar]] = ()


def _fit(
    avatars: _StartingAvatars,
    clips: Sequence[CodedClip],
    rig: Rig,
    config: PersonalizeConfig,
    context: FitContext,
) -> Personalized:
    """Train the kind of generative avatar that the configuration asks for."""
    counts = {"clips": float(len(clips)), "frames": float(sum(map(len, clips)))}
    fields = config.fields
    size = config.fit.code_size if fields is None or fields.fields is None else fields.fields.code
    start = initialise_generative(
        avatars.target, avatars.sources, rig, people=avatars.people, code_size=size, seed=config.training.seed
    )
    avatar: GenerativeAvatar
    if fields is None:
        avatar, figures = fit_generative(start, clips, rig, config.fit, context)
    else:
        context = replace(context, perceptual=perceptual_network(fields.perceptual))
        avatar, figures = fit_field_generative(start, clips, rig, fields, config.fit.rates, context)
    return Personalized(avatar=avatar, figures=figures | counts)


def good_frames(swap: Swap, least_quality: float) -> np.ndarray:
    """Numbers of a swap's frames that are fit for training, by their score."""
    return np.flatnonzero(np.asarray(swap.scores["quality"]) >= least_quality)


def own_clip(track: Track, count: int) -> CodedClip:
    """The target's own frames: at most `count` of those that a fit may see."""
    seen, _ = track.held_out()
    chosen = track.select(seen[evenly(len(seen), count)])
    return CodedClip(
        images=torch.from_numpy(chosen.on_white()),
        mattes=torch.from_numpy(np.ascontiguousarray(chosen.mattes)),
        parts=None,
        parameters=Parameters.of(chosen),
    )


def swap_clip(swap: Swap, frames: np.ndarray) -> CodedClip:
    """A swap's frames under the code of its attribute and avatar."""
    rows = {
        name: torch.from_numpy(np.ascontiguousarray(getattr(swap, name)[frames]))
        for name in ("images", "part_masks", "object_masks")
    }
    return CodedClip(
        images=rows["images"],
        mattes=rows["object_masks"],
        parts=rows["part_masks"],
        parameters=Parameters.of(swap).rows(torch.from_numpy(frames)),
        normals=_pseudo_normals(swap, frames),
        sources={swap.attribute: swap.avatar},
    )


def _pseudo_normals(swap: Swap, frames: np.ndarray) -> torch.Tensor | None:
    """Normals of the lender's avatar in the borrowed part and of the target's elsewhere, (T, S, S, 3); None without normals."""
    if swap.target_normals is None or swap.source_normals is None:
        return None
    borrowed = (swap.part_masks[frames] > 127)[..., None]
    return torch.from_numpy(np.where(borrowed, swap.source_normals[frames], swap.target_normals[frames]))
