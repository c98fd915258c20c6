"""The benchmark answers the keys that every benchmark answers, with numbers that agree with one another."""

from __future__ import annotations

import json

import pytest

from pegasus_ray.render.bench import bench_raster

KEYS = {"seconds_per_frame", "frames_per_second", "points", "size", "frames", "preset", "threads", "device", "peak_gib"}


def test_bench_raster_answers_the_common_keys() -> None:
    answer = bench_raster(500, 32, 6, 3, "warp")
    assert answer.keys() >= KEYS
    assert json.loads(json.dumps(answer)) == answer
    assert answer["frames"] == 3
    assert answer["seconds_per_frame"] == answer["forward_seconds"] + answer["backward_seconds"]  # type: ignore[operator]
    assert answer["frames_per_second"] * answer["seconds_per_frame"] == pytest.approx(1)  # type: ignore[operator]
    assert set(answer["times_faster"]) == {"torch"}  # type: ignore[call-overload]
    assert bench_raster(500, 32, 6, 1, "torch")["times_faster"] == {}
