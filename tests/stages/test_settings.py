"""Invariants of settings: what is typed arrives with the setting's own type, or is refused by its name;

Nothing else changes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pegasus_ray.avatar.fit.config import FitConfig
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.stages.settings import describe, merge, override, parse_assignments, read_changes


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    count: int
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    number: int = 1
    share: float = 0.5
    on: bool = False
    name: str = "a"
    kind: Literal["one", "two"] = "one"
    colour: Colour = Colour.RED
    place: Path = Path("here")
    limit: int | None = None
    corners: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    steps: tuple[Step, ...] = (Step(count=1), Step(count=2))
    seed: int = 0

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise PegasusError(Reason.BAD_CONFIG, "seeds are not negative", subject="seed")


def typed(*assignments: str) -> Outer:
    return override(Outer(), parse_assignments(assignments))


@given(number=st.integers(-(10**9), 10**9), share=st.floats(allow_nan=False, allow_infinity=False), on=st.booleans())
def test_numbers_come_back_as_they_were_typed(number: int, share: float, on: bool) -> None:
    made = typed(f"inner.number={number}", f"inner.share={share}", f"inner.on={str(on).lower()}")
    assert made == Outer(inner=Inner(number=number, share=share, on=on))
    assert (type(made.inner.number), type(made.inner.share), type(made.inner.on)) == (int, float, bool)


@given(name=st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"])))
def test_texts_are_taken_whatever_they_look_like(name: str) -> None:
    assert typed(f"inner.name={name}").inner.name == name


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("inner.share=3", Inner(share=3.0)),
        ("inner.kind=two", Inner(kind="two")),
        ("inner.colour=blue", Inner(colour=Colour.BLUE)),
        ("inner.place=/a/b.toml", Inner(place=Path("/a/b.toml"))),
        ("inner.limit=7", Inner(limit=7)),
        ("inner.limit=none", Inner(limit=None)),
        ("inner.corners=[1, 2.5]", Inner(corners=(1.0, 2.5))),
        ("inner.corners.1=9", Inner(corners=(0.0, 9.0))),
        ("inner.name=3", Inner(name="3")),
    ],
)
def test_each_type_of_setting_can_be_typed(assignment: str, expected: Inner) -> None:
    assert typed(assignment).inner == expected


def test_one_element_of_a_list_can_be_changed_and_the_others_stay() -> None:
    assert typed("steps.1.count=50").steps == (Step(count=1), Step(count=50))


def test_a_list_from_a_file_replaces_the_whole() -> None:
    changes = {"steps": [{"count": 5, "share": 0.5}, {"count": 6}]}
    assert override(Outer(), changes).steps == (Step(count=5, share=0.5), Step(count=6))


@pytest.mark.parametrize(
    ("assignment", "subject", "says"),
    [
        ("inner.nmber=3", "inner.nmber", "number"),
        ("iner.number=3", "iner", "inner"),
        ("inner.number=x", "inner.number", "whole number"),
        ("inner.number=1.5", "inner.number", "whole number"),
        ("inner.number=true", "inner.number", "whole number"),
        ("inner.on=1", "inner.on", "true or false"),
        ("inner.share=true", "inner.share", "a number"),
        ("inner.kind=three", "inner.kind", "one, two"),
        ("inner.colour=green", "inner.colour", "red, blue"),
        ("inner.limit=soon", "inner.limit", "whole number or none"),
        ("inner.corners=[1]", "inner.corners", "list of 2"),
        ("inner=3", "inner", "number"),
        ("inner.number.x=3", "inner.number", "whole number"),
        ("steps.7.count=1", "steps", "0 to 1"),
        ("steps.x.count=1", "steps", "0 to 1"),
        ("seed=-1", "seed", "not negative"),
        ("seed", "seed", "name=value"),
        ("=3", "=3", "name=value"),
    ],
)
def test_what_does_not_fit_is_named_with_the_way_out(assignment: str, subject: str, says: str) -> None:
    with pytest.raises(PegasusError) as caught:
        typed(assignment)
    assert caught.value.reason is Reason.BAD_CONFIG
    assert caught.value.subject == subject
    assert says in caught.value.message


def test_an_element_that_lacks_something_is_refused() -> None:
    with pytest.raises(PegasusError, match="lacks count"):
        override(Outer(), {"steps": [{"share": 0.5}]})


def test_the_last_assignment_wins_and_groups_are_merged() -> None:
    assert typed("seed=1", "seed=2", "inner.number=5", "inner.on=true") == Outer(seed=2, inner=Inner(number=5, on=True))
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": 4}) == {"a": {"b": 3, "c": 2}, "d": 4}


@pytest.mark.parametrize("suffix", [".toml", ".json"])
def test_files_say_the_same_as_assignments(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"settings{suffix}"
    texts: dict[str, Any] = {
        ".toml": 'seed = 4\n[inner]\nshare = 2\nname = "3"\n[[steps]]\ncount = 9\n',
        ".json": json.dumps({"seed": 4, "inner": {"share": 2, "name": "3"}, "steps": [{"count": 9}]}),
    }
    path.write_text(texts[suffix])
    made = override(Outer(), read_changes(path))
    assert made == Outer(seed=4, inner=Inner(share=2.0, name="3"), steps=(Step(count=9),))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.toml", b"seed = ", Reason.BAD_CONFIG),
        ("a.json", b"{", Reason.BAD_CONFIG),
        ("a.json", b"[1]", Reason.BAD_CONFIG),
        ("a.toml", b"\xff\xfe", Reason.BAD_CONFIG),
        ("gone.toml", None, Reason.NOT_FOUND),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, name: str, content: bytes | None, reason: Reason) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PegasusError) as caught:
        read_changes(path)
    assert caught.value.reason is reason
    assert caught.value.subject == str(path)


def test_a_file_with_text_where_a_number_belongs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('seed = "3"')
    with pytest.raises(PegasusError, match="whole number"):
        override(Outer(), read_changes(path))


def test_every_setting_that_is_described_can_be_set_to_what_it_is() -> None:
    config = FitConfig()
    named = describe(config)
    assert named["stages.0.steps"] == config.stages[0].steps
    plain = {name: value for name, value in named.items() if isinstance(value, bool | int | float)}
    assert len(plain) > 20
    changes = parse_assignments(f"{name}={str(value).lower()}" for name, value in plain.items())
    assert override(config, changes) == config
    moved = override(config, parse_assignments(["stages.0.steps=7"]))
    assert moved == replace(config, stages=(replace(config.stages[0], steps=7), *config.stages[1:]))
