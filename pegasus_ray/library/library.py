"""A library: results of the stages, each in a folder of its kind and key, each with a manifest that is written last.

A result exists only if it has a valid manifest: readers ignore a folder without one, and the next run makes the result
again. The first valid manifest of a result is kept, so that two drivers at work on one library do no harm; files that
the second one wrote are leftovers, which `gc` removes.
"""

from __future__ import annotations

import io
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath

import pyarrow.parquet as pq
from pydantic import ValidationError

from pegasus_ray.library.keys import digest, digest_file
from pegasus_ray.library.storage import TEMPORARY_PREFIX, Entry, Storage, open_storage
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, FileEntry, Kind, Manifest, Provenance, Stage

MANIFEST = "manifest.json"  # file in each result's folder
CHECKPOINTS = "checkpoints"  # folder in the library
GRACE_SECONDS = 24 * 3600.0
"""An unreferenced file that is younger than this may belong to a run that is still at work."""

_DIGEST_DIGITS_IN_NAME = 12  # hex digits of a payload file's sha256 that its name contains


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `Library.verify` found."""

    manifests: int
    bad: tuple[str, ...]  # "kind/key/file: what is wrong"
    rows_checked: int


class Library:
    """Results on disk or in a bucket. It is small and can be pickled, so that each worker gets a copy."""

    def __init__(self, location: str | Path) -> None:
        self.storage: Storage = open_storage(location)

    @property
    def location(self) -> str:
        """The folder or URL."""
        return self.storage.location

    def exists(self, kind: Kind, key: str) -> bool:
        """Whether the result is there and complete."""
        return self.manifest(kind, key) is not None

    def manifest(self, kind: Kind, key: str) -> Manifest | None:
        """The manifest of a result; None if it is missing or invalid, or a payload file is missing or of another size."""
        folder = f"{kind}/{key}"
        try:
            manifest = Manifest.model_validate_json(self.storage.read(f"{folder}/{MANIFEST}"))
        except (FileNotFoundError, NotADirectoryError, ValidationError):
            return None
        if manifest.kind is not kind or manifest.key != key:
            return None
        sizes = {entry.name: entry.size for entry in self.storage.files(folder)}
        whole = all(sizes.get(file.path) == file.size for file in manifest.files)
        return manifest if whole else None

    def commit(self, kind: Kind, key: str, files: Mapping[str, bytes | Path], provenance: Provenance) -> Manifest:
        """Write a result: its files, under names that contain their content's digest, and then its manifest.

        Args:
            kind: what it is.
            key: 16 hex digits, see `key_of`.
            files: by the name that readers will ask for, bytes or a local file.
            provenance: how it was made; empty `versions` are filled in.

        Returns:
            The manifest that is in the library: another driver's, if that was first.

        Raises:
            PegasusError: DISK_FULL; BAD_LIBRARY if the library cannot be written.
        """
        standing = self.manifest(kind, key)
        return standing or self.seal(kind, key, [self.store(kind, key, *file) for file in files.items()], provenance)

    def store(self, kind: Kind, key: str, name: str, data: bytes | Path) -> FileEntry:
        """Write one payload file; readers see it once a manifest names it."""
        sha256 = digest(data) if isinstance(data, bytes) else digest_file(data)
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        pure = PurePosixPath(name)
        path = f"{pure.stem}-{sha256[:_DIGEST_DIGITS_IN_NAME]}{pure.suffix}"
        self.storage.put(f"{kind}/{key}/{path}", data)
        return FileEntry(name=name, path=path, size=size, sha256=sha256)

    def seal(self, kind: Kind, key: str, files: Sequence[FileEntry], provenance: Provenance) -> Manifest:
        """Write the manifest of payload files that are there. Returns as `commit` does."""
        versions = provenance.versions or installed_versions()
        facts = provenance.model_dump() | {"versions": versions}
        made = Manifest(kind=kind, key=key, format_version=FORMAT_VERSIONS[kind], files=tuple(files), **facts)
        path = f"{kind}/{key}/{MANIFEST}"
        data = made.model_dump_json(indent=1).encode()
        while not self.storage.create(path, data):
            standing = self.manifest(kind, key)
            if standing is not None:
                return standing
            self.storage.remove(path)  # invalid, or without its payload, so that nobody can read it
        return made

    def read(self, kind: Kind, key: str, name: str) -> bytes:
        """The content of a result's file, checked against its digest.

        Raises:
            PegasusError: BAD_REFERENCE if the result or the file is not there, CORRUPT if its content has changed.
        """
        return self.read_entry(self.expect(kind, key), name)

    def read_entry(self, manifest: Manifest, name: str) -> bytes:
        """As `read`, with a manifest that the caller has."""
        subject = f"{manifest.kind}/{manifest.key}"
        entry = manifest.file(name)
        if entry is None:
            names = ", ".join(file.name for file in manifest.files)
            raise PegasusError(Reason.BAD_REFERENCE, f"has no file {name}; it has {names}", subject=subject)
        try:
            data = self.storage.read(f"{subject}/{entry.path}")
        except FileNotFoundError:
            data = b""
        if len(data) != entry.size or digest(data) != entry.sha256:
            message = f"{entry.path} is not what was written; remove the result's folder and run the same command again"
            raise PegasusError(Reason.CORRUPT, message, subject=subject)
        return data

    def expect(self, kind: Kind, key: str) -> Manifest:
        """The manifest of a result that must be there.

        Raises:
            PegasusError: BAD_REFERENCE if it is not.
        """
        manifest = self.manifest(kind, key)
        if manifest is None:
            message = f"not in {self.location}; `pegasus status` lists what is"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=f"{kind}/{key}")
        return manifest

    def list(self, kind: Kind) -> list[str]:
        """Keys of the results of a kind, sorted."""
        return [manifest.key for manifest in self.manifests(kind)]

    def manifests(self, kind: Kind) -> Iterator[Manifest]:
        """The valid manifests of a kind, in order of their keys."""
        for key in self.storage.folders(kind):
            manifest = self.manifest(kind, key)
            if manifest is not None:
                yield manifest

    def find(self, reference: str, *kinds: Kind) -> Manifest:
        """The one result that a user refers to.

        Args:
            reference: a key, the beginning of one, `kind/key`, or the name of its source with or without suffix.
            kinds: kinds to search; all of them by default.

        Raises:
            PegasusError: BAD_REFERENCE if no result or more than one fits; the message names candidates.
        """
        named_kind, _, rest = reference.rpartition("/")
        found = [manifest for kind in kinds or tuple(Kind) for manifest in self.manifests(kind)]
        named = [m for m in found if rest in (m.source, PurePosixPath(m.source).stem) and named_kind in ("", m.kind)]
        fitting = named or [m for m in found if rest and m.key.startswith(rest) and named_kind in ("", m.kind)]
        if len(fitting) == 1:
            return fitting[0]
        candidates = ", ".join(f"{m.kind}/{m.key} ({m.source})" for m in (fitting or found)[:8]) or "nothing yet"
        what = "fits more than one result; give more of the key" if fitting else "is no result here"
        raise PegasusError(Reason.BAD_REFERENCE, f"{what}. There is: {candidates}", subject=reference)

    def gc(self, grace: float = GRACE_SECONDS, *, dry_run: bool = False) -> tuple[str, ...]:
        """Remove files that no valid manifest names and that are older than `grace` seconds, and checkpoints that nobody needs.

        Returns:
            The paths of what was removed.
        """
        leftovers = []
        for kind in Kind:
            for key in self.storage.folders(kind):
                manifest = self.manifest(kind, key)
                kept = {MANIFEST, *(file.path for file in manifest.files)} if manifest else set()
                old = self._files_older_than(grace, f"{kind}/{key}")
                leftovers += [f"{kind}/{key}/{entry.name}" for entry in old if entry.name not in kept]
        for folder in ("ledger", "ledger/plans"):
            old = self._files_older_than(grace, folder)
            leftovers += [f"{folder}/{entry.name}" for entry in old if entry.name.startswith(TEMPORARY_PREFIX)]
        works = self.storage.folders(CHECKPOINTS)
        checkpoints = [f"{CHECKPOINTS}/{work}" for work in works if self._is_checkpoint_useless(work, grace)]
        if not dry_run:
            for path in leftovers:
                self.storage.remove(path)
            for folder in checkpoints:
                self.storage.remove_tree(folder)
        return (*leftovers, *checkpoints)

    def verify(self) -> Verification:
        """Read all payload files and compare them with their manifests; open every table and count its rows."""
        manifests, rows, bad = 0, 0, []
        for kind in Kind:
            for key in self.storage.folders(kind):
                manifest = self.manifest(kind, key)
                if manifest is None:
                    if any(entry.name == MANIFEST for entry in self.storage.files(f"{kind}/{key}")):
                        bad.append(f"{kind}/{key}/{MANIFEST}: invalid, or a payload file is missing or cut off")
                    continue
                manifests += 1
                for file in manifest.files:
                    try:
                        data = self.read_entry(manifest, file.name)
                        rows += pq.read_metadata(io.BytesIO(data)).num_rows if file.path.endswith(".parquet") else 0
                    except (PegasusError, OSError) as error:  # the digest rules out ArrowInvalid
                        bad.append(f"{kind}/{key}/{file.path}: {error}")
        return Verification(manifests=manifests, bad=tuple(bad), rows_checked=rows)

    def _is_checkpoint_useless(self, work: str, grace: float) -> bool:
        """Whether nobody needs the checkpoints of `stage-key`: the result is there, or no run has written them for `grace`."""
        stage, _, key = work.partition("-")
        if stage in tuple(Stage) and self.exists(Stage(stage).kind, key):
            return True
        ages = [entry.age for entry in self.storage.files(f"{CHECKPOINTS}/{work}")]
        return bool(ages) and min(ages) >= grace

    def _files_older_than(self, seconds: float, folder: str) -> Sequence[Entry]:
        return [entry for entry in self.storage.files(folder) if entry.age >= seconds]


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    names = ("pegasus-ray", "torch", "numpy", "pyarrow", "opencv-contrib-python", "warp-lang", "ray")
    found = {distribution: _version(distribution) for distribution in names}
    return (("python", platform.python_version()), *((name, version) for name, version in found.items() if version))


def installed_versions() -> dict[str, str]:
    """Versions of the software that may influence a result, for its manifest."""
    return dict(_versions())


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
