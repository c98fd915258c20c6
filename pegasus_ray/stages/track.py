"""track: a video becomes frames with everything that perception and the rig say about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pegasus_ray.library.track import Track
from pegasus_ray.perception.observe import Observations, ObserveConfig, observe
from pegasus_ray.perception.tracking.fit_rig import FitRigConfig, fit_rig
from pegasus_ray.perception.tracking.torso import TorsoConfig, track_torso
from pegasus_ray.rig.load import OPEN, load_rig
from pegasus_ray.schemas.progress import Progress

_OBSERVED_SHARE = 0.8  # of the work, done once the video is observed
_FITTED_SHARE = 0.95  # of the work, done once the rig is fitted to it


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackConfig:
    """How a video is looked at and the rig is fitted to it."""

    rig: str = OPEN
    observe: ObserveConfig = field(default_factory=ObserveConfig)
    fit_rig: FitRigConfig = field(default_factory=FitRigConfig)
    torso: TorsoConfig = field(default_factory=TorsoConfig)


def track(video: Path, config: TrackConfig | None = None, progress: Progress | None = None) -> Track:
    """One person's video after perception.

    Args:
        video: the file.
        config: how to look and fit.
        progress: told the share done and a short text.

    Raises:
        PegasusError: what is wrong with the video (`observe`), a missing model file, or DIVERGED.
    """
    return track_observed(observe_video(video, config, progress), config, progress)


def observe_video(video: Path, config: TrackConfig | None = None, progress: Progress | None = None) -> Observations:
    """The first half of `track`: what the networks see in a video.

    Raises:
        PegasusError: as `observe`; BAD_REFERENCE for an unknown rig.
    """
    config = config or TrackConfig()
    report = progress or (lambda *_: None)
    load_rig(config.rig)  # refused before the work, not after it
    return observe(video, config.observe, lambda share, text: report(_OBSERVED_SHARE * share, text))


def track_observed(
    observations: Observations, config: TrackConfig | None = None, progress: Progress | None = None
) -> Track:
    """The second half of `track`: rig and torso fitted to what was seen of a video.

    Raises:
        PegasusError: DIVERGED.
    """
    config = config or TrackConfig()
    report = progress or (lambda *_: None)
    rig = load_rig(config.rig)
    fitting = _FITTED_SHARE - _OBSERVED_SHARE
    fit = fit_rig(
        observations, rig, config.fit_rig, lambda share, text: report(_OBSERVED_SHARE + fitting * share, f"rig: {text}")
    )
    report(_FITTED_SHARE, "torso")
    torso = track_torso(rig, observations.frames, fit, config.torso)
    count = len(observations)
    report(1.0, f"{count} frames")
    return Track(
        source=observations.source,
        rig=rig.name,
        images=observations.images,
        mattes=observations.mattes,
        parts=observations.parts,
        landmarks=observations.landmarks,
        blendshapes=observations.blendshapes,
        shape=fit.shape,
        expression=fit.expression,
        head=fit.head,
        torso=torso,
        jaw=np.zeros((count, 3), np.float32),
        eyes=np.zeros((count, 6), np.float32),
        camera=fit.camera,
        times=observations.times,
        indices=observations.indices,
        quality=observations.quality,
        identity=observations.identity,
    )
