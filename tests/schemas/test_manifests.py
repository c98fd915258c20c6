"""Manifests read back as they were written, and refuse unknown fields, bad keys, and numbers that JSON does not have."""

from __future__ import annotations

import math

import pytest
from pydantic import ValidationError

from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, FileEntry, InputEntry, Kind, Manifest, Stage
from pegasus_ray.schemas.parts import Attribute


def manifest(**changes: object) -> Manifest:
    facts = {
        "kind": Kind.AVATARS,
        "key": "0123456789abcdef",
        "format_version": 1,
        "files": (FileEntry(name="a", path="a-1", size=3, sha256="0" * 64),),
        "inputs": (InputEntry(name="track", key="f" * 16),),
        "attributes": (Attribute.HAIR,),
        "config": {"steps": 3, "nested": {"rate": 0.1}},
        "summary": {"psnr": 27.5, "frames": 30, "device": "cpu"},
    }
    return Manifest.model_validate(facts | changes)


def test_round_trip() -> None:
    assert Manifest.model_validate_json(manifest().model_dump_json()) == manifest()


@pytest.mark.parametrize(
    "change",
    [{"host": "x"}, {"key": "xyz"}, {"kind": "films"}, {"summary": {"psnr": math.nan}}, {"files": [{"name": "a"}]}],
)
def test_unknown_and_invalid_fields_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        manifest(**change)


def test_each_stage_makes_a_kind_of_its_own() -> None:
    assert {stage.kind for stage in Stage} == set(Kind) == set(FORMAT_VERSIONS)
    assert Stage.FIT.kind is Kind.AVATARS
    assert Stage.PERSONALIZE.kind is Kind.MODELS
