"""The frames of a video, segmented: what fitting the rig and the torso to pictures needs."""

from __future__ import annotations

from dataclasses import dataclass

from pegasus_ray.perception.nets.square import Bytes, Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentedFrames:
    """T frames of S × S pixels with the person's matte and parts."""

    images: Bytes  # (T, S, S, 3) RGB
    mattes: Bytes  # (T, S, S) opacity of the person
    parts: Bytes  # (T, S, S) `Label`
    times: Floats  # (T,) seconds
