"""Equal work has an equal key in any order and in any process, different work another; ambiguous values are refused."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_ray.library.keys import canonical_json, digest, digest_file, key_of
from pegasus_ray.schemas.errors import PegasusError, Reason

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    steps: int = 3
    colour: Colour = Colour.RED


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    rate: float = 0.1
    inner: Inner = Inner()
    names: tuple[str, ...] = ("b", "a")


@given(json_values)
def test_canonical_json_reads_back_and_is_a_fixed_point(value: object) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert json.loads(text) == value


@given(st.dictionaries(st.text(), json_values, min_size=2, max_size=6))
def test_the_order_of_names_does_not_matter(value: dict[str, object]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@given(json_values, json_values)
def test_only_equal_values_are_written_alike(a: object, b: object) -> None:
    if canonical_json(a) == canonical_json(b):
        assert a == b


def test_typed_values_are_written_as_json_types() -> None:
    plain = {"rate": 0.1, "inner": {"steps": 3, "colour": "red"}, "names": ["b", "a"]}
    assert canonical_json(Config()) == canonical_json(plain)
    assert canonical_json({Colour.RED: Path("a/b"), "s": {2, 1}}) == '{"red":"a/b","s":[1,2]}'
    assert canonical_json(np.float64(0.5)) == "0.5"
    assert canonical_json(-0.0) == canonical_json(0.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, b"x", object(), {1: 2}, [math.nan], Config])
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(PegasusError) as caught:
        canonical_json({"x": value})
    assert caught.value.reason is Reason.BAD_CONFIG


def test_each_ingredient_changes_the_key() -> None:
    def key(kind: str = "avatars", track: str = "t", steps: int = 1, model: str = "m", version: int = 1) -> str:
        return key_of(kind, {"track": track}, Inner(steps=steps), {"matte": model}, format_version=version)

    keys = [key(), key(kind="tracks"), key(track="u"), key(steps=2), key(model="n"), key(version=2)]
    assert len(set(keys)) == len(keys)
    assert all(len(item) == 16 and int(item, 16) >= 0 for item in keys)


def test_another_process_with_another_hash_seed_finds_the_same_key() -> None:
    source = (
        "from pegasus_ray.library.keys import key_of;"
        "print(key_of('tracks', {'b': '1', 'a': '2'}, {'s': {'x', 'y', 'z'}, 'f': 0.1}, {}, format_version=1))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", source], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {
        key_of("tracks", {"a": "2", "b": "1"}, {"f": 0.1, "s": {"z", "y", "x"}}, format_version=1) + "\n"
    }


def test_digest_file_equals_digest_of_its_bytes(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000
    (tmp_path / "f").write_bytes(data)
    assert digest_file(tmp_path / "f") == digest(data)
    with pytest.raises(PegasusError) as caught:
        digest_file(tmp_path / "missing")
    assert caught.value.reason is Reason.NOT_FOUND
