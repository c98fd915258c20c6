"""A field avatar comes back from its files as it was, and files of strangers are refused by name."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save

from pegasus_ray.avatar.fields.avatar import FieldAvatar, Fields
from pegasus_ray.avatar.fields.config import FieldConfig
from pegasus_ray.avatar.files.avatar import load_avatar
from pegasus_ray.avatar.files.fields import NETWORKS, dump_fields, load_fields
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.errors import PegasusError, Reason
from tests.painted import painted_avatar

SIZES = FieldConfig(
    code=4, field_width=16, field_depth=3, field_skip=2, deformer_width=8, deformer_depth=2, shading_width=8
)


def _files() -> tuple[Fields, dict[str, bytes]]:
    rig, avatar = load_rig(), painted_avatar()
    networks = FieldAvatar(rig, avatar, SIZES, torch.Generator().manual_seed(3), choices={"hair": 2})
    fields = Fields(networks=networks, points=avatar.with_tensors({"offsets": avatar.offsets + 0.01}))
    return fields, dump_fields(avatar, fields)


def test_networks_come_back_as_they_were() -> None:
    fields, files = _files()
    avatar, config = load_avatar(files)
    assert config.preset == "paper" and config.fields is not None
    back = load_fields(files, avatar, config, load_rig())
    assert back is not None
    for code in ({}, {"hair": 1}):
        one, other = (made.canonical(load_rig(), code=code) for made in (fields, back))
        for name in ("positions", "albedo", "gradient", "skin_weights", "code"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name


def test_an_explicit_avatar_has_no_networks() -> None:
    _, files = _files()
    avatar, config = load_avatar(files)
    assert load_fields(files, avatar, config.model_copy(update={"fields": None}), load_rig()) is None


def test_networks_beyond_all_bounds_are_refused_before_a_fit() -> None:
    with pytest.raises(PegasusError) as caught:
        FieldConfig(shading_width=8192)
    assert caught.value.reason is Reason.BAD_CONFIG and "shading_width" in caught.value.subject
    assert FieldConfig(field_width=1024, field_depth=64).field_width == 1024


@pytest.mark.parametrize("fault", ["gone", "broken", "other sizes", "unknown", "not finite", "codes"])
def test_networks_of_strangers_are_refused(fault: str) -> None:
    _, files = _files()
    avatar, config = load_avatar(files)
    assert config.fields is not None
    tensors = {name: value.clone() for name, value in load(files[NETWORKS]).items()}
    if fault == "gone":
        del files[NETWORKS]
    elif fault == "broken":
        files[NETWORKS] = b"nothing"
    elif fault == "other sizes":
        config = config.model_copy(update={"fields": config.fields.model_copy(update={"field_width": 17})})
    elif fault == "codes":
        config = config.model_copy(update={"fields": config.fields.model_copy(update={"choices": {"soul": 1}})})
    else:
        tensors["offsets"][0, 0] = float("nan")
        extra = {"more": torch.zeros(1)} if fault == "unknown" else {}
        files[NETWORKS] = save(tensors | extra)
    with pytest.raises(PegasusError) as caught:
        load_fields(files, avatar, config, load_rig())
    assert caught.value.reason is Reason.BAD_REFERENCE
