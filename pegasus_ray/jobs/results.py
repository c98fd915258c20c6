"""Reads a library's results for the stages, and says where and of whom a result was made."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.files.avatar import load_avatar
from pegasus_ray.avatar.files.checks import check_fits_rig, rig_of_avatar
from pegasus_ray.avatar.files.fields import NETWORKS, load_fields
from pegasus_ray.avatar.files.generative import load_generative
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.library.library import Library
from pegasus_ray.library.payloads import read_payload
from pegasus_ray.library.track import Track
from pegasus_ray.library.tracks import load_track
from pegasus_ray.schemas.manifests import Kind, SeenPerson

AVATAR_FILES = ("avatar.safetensors", "config.json")  # payload files that every avatar has
MODEL_FILES = (*AVATAR_FILES, NETWORKS)


def read_avatar(library: Library, key: str, kind: Kind = Kind.AVATARS) -> Avatar:
    """Read an avatar; with `Kind.TRANSFERS`, an avatar that wears borrowed attributes.

    Raises:
        PegasusError: BAD_REFERENCE if it is not there, is no avatar, or does not fit its rig, CORRUPT if its content has changed.
    """
    name = f"{kind}/{key}"
    avatar, _ = load_avatar(_files(library, kind, key), name=name)
    check_fits_rig(avatar, rig_of_avatar(avatar.rig, name=name), name=name)
    return avatar


def read_fields(library: Library, key: str) -> Fields | None:
    """Read the networks of an avatar, None if it has none; errors as `read_avatar`."""
    files = _files(library, Kind.AVATARS, key)
    name = f"{Kind.AVATARS}/{key}"
    avatar, config = load_avatar(files, name=name)
    if config.fields is None:
        return None
    rig = rig_of_avatar(avatar.rig, name=name)
    check_fits_rig(avatar, rig, name=name)
    entry = read_payload(library, library.expect(Kind.AVATARS, key), NETWORKS)
    return load_fields(files | {NETWORKS: entry}, avatar, config, rig, name=name)


def read_generative(library: Library, key: str) -> GenerativeAvatar:
    """Read a generative avatar; errors as `read_avatar`."""
    manifest, name = library.expect(Kind.MODELS, key), f"{Kind.MODELS}/{key}"
    files = {
        file.name: read_payload(library, manifest, file.name) for file in manifest.files if file.name in MODEL_FILES
    }
    return load_generative(files, name=name)[0]


def _files(library: Library, kind: Kind, key: str) -> dict[str, bytes]:
    manifest = library.expect(kind, key)
    return {name: read_payload(library, manifest, name) for name in AVATAR_FILES}


@lru_cache(maxsize=2)
def read_track(location: str, key: str) -> Track:
    """Read a track; errors as `load_track`. The last two stay in memory, because a worker makes many swaps of one target."""
    return load_track(Library(location), key)


def join_seen(*groups: Iterable[SeenPerson]) -> tuple[SeenPerson, ...]:
    """Everybody who can be seen in some results, each once, in the order given."""
    return tuple({person.recording: person for group in groups for person in group}.values())


def visible_device() -> str:
    """The device on which this process computes, as torch names it: CUDA if torch sees a GPU, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_class(device: str) -> str:
    """The model of a GPU, or the device's name: results are equal to the last bit only on the same model."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
