"""fit: a track becomes an avatar (the paper's DB avatar)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.avatar.fit.loop import FitContext, fit_avatar
from pegasus_ray.avatar.fit.perceptual import EFFICIENTNET, NONE, VGG, load_perceptual
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.library.track import Track
from pegasus_ray.perception.assets.files import path_of
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.parts import PART_OF_LABEL, Attribute
from pegasus_ray.schemas.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """An avatar and how the fit went."""

    avatar: Avatar
    attributes: tuple[Attribute, ...]  # those that the track shows and the avatar may give
    figures: dict[str, float]
    fields: Fields | None = None  # the networks, where the preset has them


def fit(
    track: Track,
    config: FitConfig,
    *,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
    device: str = "cpu",
) -> FitResult:
    """Fit an avatar to a track's frames except the last tenth, which no fit sees.

    Args:
        track: the person's video after perception.
        config: the fit's configuration.
        progress: told the share done and a short text.
        checkpoint: a file to resume from and to save to.
        device: where to compute.

    Raises:
        PegasusError: DIVERGED, TOO_FEW_FRAMES; ASSET_MISSING where the perceptual term's weights are not on this machine.
    """
    seen, _ = track.held_out()
    shown = track.select(seen)
    context = FitContext(
        progress=progress, checkpoint=checkpoint, device=device, perceptual=perceptual_network(config.perceptual)
    )
    fitted = fit_avatar(shown, load_rig(track.rig), config, context=context)
    return FitResult(
        avatar=fitted.avatar.to("cpu"),
        attributes=attributes_shown(shown),
        figures=fitted.figures,
        fields=fitted.fields.to("cpu") if fitted.fields else None,
    )


PERCEPTUAL_WEIGHTS = {VGG: "vgg16-397923af.pth", EFFICIENTNET: "efficientnet-lite0-57934424.pth"}
"""Perceptual network → the asset that holds its weights."""


def perceptual_network(name: str) -> nn.Module | None:
    """The network of a perceptual term; nothing for `none`.

    Raises:
        PegasusError: ASSET_MISSING where its weights are not on this machine; BAD_CONFIG for an unknown name.
    """
    return None if name == NONE else load_perceptual(name, path_of(PERCEPTUAL_WEIGHTS[name]))


def attributes_shown(track: Track, *, least_share: float = 0.0015, least_frames: float = 0.3) -> tuple[Attribute, ...]:
    """The attributes that a track has to give: each fills `least_share` of the person in `least_frames` of the frames."""
    person = np.maximum((track.mattes > 127).sum((1, 2)), 1)
    found = []
    for attribute in Attribute:
        labels = [label for label, part in PART_OF_LABEL.items() if part is attribute.part]
        share = np.isin(track.parts, labels).sum((1, 2)) / person
        if float((share > least_share).mean()) >= least_frames:
            found.append(attribute)
    return tuple(found)
