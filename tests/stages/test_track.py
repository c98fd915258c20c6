"""A filmed person's track: whole, in order, and with the head where it really was."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pegasus_ray.perception.observe import ObserveConfig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.stages.track import TrackConfig, track

from ..perception.conftest import Filmed, filmed, models

__all__ = ["filmed", "models"]  # fixtures

CONFIG = TrackConfig(observe=ObserveConfig(size=128, parser="landmarks", min_frames=3, threads=1))


def test_a_filmed_person_is_tracked(models: None, filmed: Filmed) -> None:
    told: list[float] = []
    found = track(filmed.path, CONFIG, lambda share, text: told.append(share))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert len(found) == len(filmed.truth)
    assert found.source == filmed.path.name
    assert found.rig == filmed.truth.rig
    assert found.torso.shape == found.head.shape == (6, 6)
    assert np.isfinite(np.concatenate([found.head, found.torso, found.expression, found.camera], 1)).all()
    assert not found.jaw.any()
    assert not found.eyes.any()
    seen, true = found.head[:, :3], filmed.truth.head[:, :3]
    turned = np.rad2deg(np.linalg.norm((seen - seen.mean(0)) - (true - true.mean(0)), axis=1))
    assert np.median(turned) < 6.0, "rotation beside the clip's mean, degrees"


def test_a_bad_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.mp4"
    path.write_text("not a film\n" * 100)
    with pytest.raises(PegasusError) as caught:
        track(path, CONFIG)
    assert caught.value.reason is Reason.NOT_A_VIDEO
    assert caught.value.subject == str(path)


def test_an_unknown_rig_is_refused() -> None:
    with pytest.raises(PegasusError) as caught:
        track(Path("any.mp4"), replace(CONFIG, rig="flame"))
    assert caught.value.reason is Reason.BAD_REFERENCE
