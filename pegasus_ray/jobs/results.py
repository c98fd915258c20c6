"""Results of a library as the stages want them, and what a manifest says about how they came to be."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

import torch

from pegasus_ray.avatar.fields.avatar import Fields
from pegasus_ray.avatar.files.avatar import load_avatar
from pegasus_ray.avatar.files.fields import FILE, load_fields
from pegasus_ray.avatar.files.generative import load_generative
from pegasus_ray.avatar.generative.avatar import GenerativeAvatar
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.library.keys import plain
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Track
from pegasus_ray.library.tracks import load_track
from pegasus_ray.rig.load import load_rig
from pegasus_ray.schemas.manifests import InputEntry, Kind, Provenance

AVATAR_FILES = ("avatar.safetensors", "config.json")
MODEL_FILES = (*AVATAR_FILES, FILE)


def read_avatar(library: Library, key: str, kind: Kind = Kind.AVATARS) -> Avatar:
    """An avatar; with `Kind.TRANSFERS`, one that wears something borrowed.

    Raises:
        PegasusError: BAD_REFERENCE if it is not there or no avatar, CORRUPT if its content has changed.
    """
    return load_avatar(_files(library, kind, key), name=f"{kind}/{key}")[0]


def read_fields(library: Library, key: str) -> Fields | None:
    """The networks of an avatar that has some; errors as `read_avatar`."""
    files = _files(library, Kind.AVATARS, key)
    name = f"{Kind.AVATARS}/{key}"
    avatar, config = load_avatar(files, name=name)
    if config.fields is None:
        return None
    entry = library.read_entry(library.expect(Kind.AVATARS, key), FILE)
    return load_fields(files | {FILE: entry}, avatar, config, load_rig(avatar.rig), name=name)


def read_generative(library: Library, key: str) -> GenerativeAvatar:
    """A generative avatar; errors as `read_avatar`."""
    manifest, name = library.expect(Kind.MODELS, key), f"{Kind.MODELS}/{key}"
    files = {file.name: library.read_entry(manifest, file.name) for file in manifest.files if file.name in MODEL_FILES}
    return load_generative(files, name=name)[0]


def _files(library: Library, kind: Kind, key: str) -> dict[str, bytes]:
    manifest = library.expect(kind, key)
    return {name: library.read_entry(manifest, name) for name in AVATAR_FILES}


@lru_cache(maxsize=2)
def read_track(location: str, key: str) -> Track:
    """A track, kept in memory for the next who asks: a worker makes many swaps of one target."""
    return load_track(Library(location), key)


def provenance(
    inputs: Mapping[str, str],
    config: object,
    *,
    source: str,
    rig: str,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    **facts: Any,
) -> Provenance:
    """How a result was made from other results.

    Args:
        inputs: keys by name.
        config: as it was in effect.
        source: name of the video or person it shows.
        rig: that its parameters belong to.
        seed: of its random numbers.
        threads: of torch.
        device: as torch names it.
        facts: other fields of `Provenance`.
    """
    return Provenance(
        inputs=tuple(InputEntry(name=name, key=key) for name, key in inputs.items()),
        config=cast(dict[str, Any], plain(config)),
        source=source,
        rig=rig,
        seed=seed,
        threads=threads,
        device=device_class(device),
        **facts,
    )


def visible_device() -> str:
    """Where this process may compute, as torch names it. A worker of Ray sees a GPU only if it has a share of one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_class(device: str) -> str:
    """What kind of device it is: results are equal to the last bit only on the same kind."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
