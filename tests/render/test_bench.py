"""The benchmark gives the keys that every benchmark gives, and its numbers agree with one another."""

from __future__ import annotations

import json

import pytest

from pegasus_ray.render.bench import BenchScene, bench_raster

KEYS = {"seconds_per_frame", "frames_per_second", "points", "size", "frames", "preset", "threads", "device", "peak_gib"}


def test_bench_raster_answers_the_common_keys() -> None:
    scene = BenchScene(points=500, size=32, per_pixel=6)
    answer = bench_raster(scene, "warp", repeats=3)
    assert answer.keys() >= KEYS
    assert json.loads(json.dumps(answer)) == answer
    assert answer["frames"] == 3
    assert answer["seconds_per_frame"] == answer["forward_seconds"] + answer["backward_seconds"]  # type: ignore[operator]
    assert answer["frames_per_second"] * answer["seconds_per_frame"] == pytest.approx(1)  # type: ignore[operator]
    assert set(answer["times_faster"]) == {"torch"}  # type: ignore[call-overload]
    assert bench_raster(scene, "torch", repeats=1)["times_faster"] == {}
