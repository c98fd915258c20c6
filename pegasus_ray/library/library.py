"""A library: results of the stages, each in a folder of its kind and key, each with a manifest that is written last.

A result exists only if it has a valid manifest: readers ignore a folder without one, and the next run makes the result
again. The first valid manifest of a result is kept, so that two drivers at work on one library do no harm; files that
the second one wrote are leftovers, which `sweep` removes. A result that a later release wrote is left alone, whatever this
release can read of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from pegasus_ray.library.keys import digest, digest_file
from pegasus_ray.library.mark import claim as claim_place
from pegasus_ray.library.storage import Storage, open_storage
from pegasus_ray.library.versions import installed_versions
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, KEY_PATTERN, FileEntry, Kind, Manifest, Provenance

MANIFEST = "manifest.json"  # file in each result's folder
CHECKPOINTS = "checkpoints"  # folder in the library
MAX_MANIFEST_BYTES = 64 << 20
"""Of a larger file only the beginning is read, which is no valid manifest. One of ten thousand inputs and files has 2 MB."""
_DIGEST_DIGITS_IN_NAME = 12  # hex digits of a payload file's sha256 that its name contains


class Standing(StrEnum):
    """How a result stands."""

    ABSENT = "absent"  # without a manifest
    WHOLE = "whole"
    BROKEN = "broken"  # with a manifest that is invalid, or whose payload is missing or of another size
    LATER = "later"  # written by a later release


class Library:
    """Results on disk or in a bucket. It is small and can be pickled, so that each worker gets a copy."""

    def __init__(self, location: str | Path, *, claimed: bool = False) -> None:
        """Open a library; nothing is read yet. `claimed` says that the caller has made sure that the place is one."""
        self.storage: Storage = open_storage(location)
        self._claimed = claimed

    @property
    def location(self) -> str:
        """The folder or URL."""
        return self.storage.location

    def put(self, path: str, data: bytes | Path, *, durable: bool = True) -> None:
        """As `Storage.put`, once it is sure that the place is a library. Errors as `claim`, too."""
        self.claim()
        self.storage.put(path, data, durable=durable)

    def create(self, path: str, data: bytes) -> bool:
        """As `Storage.create`, once it is sure that the place is a library. Errors as `claim`, too."""
        self.claim()
        return self.storage.create(path, data)

    def claim(self) -> None:
        """Make sure that the place is a library, once; an empty one becomes one. Errors as `mark.claim`."""
        if not self._claimed:
            claim_place(self.storage)
            self._claimed = True

    def exists(self, kind: Kind, key: str) -> bool:
        """Whether the result is there and complete."""
        return self.manifest(kind, key) is not None

    def manifest(self, kind: Kind, key: str) -> Manifest | None:
        """The manifest of a result; None if it is missing or invalid, or a payload file is missing or of another size."""
        return self.examine(kind, key)[1]

    def examine(self, kind: Kind, key: str) -> tuple[Standing, Manifest | None]:
        """How a result stands, and its manifest if it is whole."""
        standing, manifest = self._read_manifest(kind, key)
        if manifest is None:
            return standing, None
        sizes = {entry.name: entry.size for entry in self.storage.files(f"{kind}/{key}")}
        whole = all(sizes.get(file.path) == file.size for file in manifest.files)
        return (Standing.WHOLE, manifest) if whole else (Standing.BROKEN, None)

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
        self.put(f"{kind}/{key}/{path}", data)
        return FileEntry(name=name, path=path, size=size, sha256=sha256)

    def seal(self, kind: Kind, key: str, files: Sequence[FileEntry], provenance: Provenance) -> Manifest:
        """Write the manifest of payload files that are there. Returns as `commit` does.

        Raises:
            PegasusError: BAD_LIBRARY if a later release has written this result.
        """
        versions = provenance.versions or installed_versions()
        facts = provenance.model_dump() | {"versions": versions}
        made = Manifest(kind=kind, key=key, format_version=FORMAT_VERSIONS[kind], files=tuple(files), **facts)
        path = f"{kind}/{key}/{MANIFEST}"
        data = made.model_dump_json(indent=1).encode()
        while not self.create(path, data):
            standing, there = self.examine(kind, key)
            if there is not None:
                return there
            if standing is Standing.LATER:
                raise written_later(kind, key)
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
            data = self.storage.read(f"{subject}/{entry.path}", most=entry.size + 1)
        except FileNotFoundError:
            data = b""
        if len(data) != entry.size or digest(data) != entry.sha256:
            message = f"{entry.path} is not what was written; remove the result's folder and run the same command again"
            raise PegasusError(Reason.CORRUPT, message, subject=subject)
        return data

    def expect(self, kind: Kind, key: str) -> Manifest:
        """The manifest of a result that must be there. Whether its payload is, turns out when that is read.

        Raises:
            PegasusError: BAD_REFERENCE if it is not; BAD_LIBRARY if a later release wrote it.
        """
        standing, manifest = self._read_manifest(kind, key)
        if standing is Standing.LATER:
            raise written_later(kind, key)
        if manifest is None:
            message = f"not in {self.location}; `pegasus status` lists what is"
            raise PegasusError(Reason.BAD_REFERENCE, message, subject=f"{kind}/{key}")
        return manifest

    def _read_manifest(self, kind: Kind, key: str) -> tuple[Standing, Manifest | None]:
        """How a result stands as far as its manifest goes, and the manifest if it is valid."""
        try:
            data = self.storage.read(f"{kind}/{key}/{MANIFEST}", most=MAX_MANIFEST_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            return Standing.ABSENT, None
        try:
            manifest = Manifest.model_validate_json(data)
        except ValidationError as error:
            return (Standing.LATER if _is_later(kind, data, error) else Standing.BROKEN), None
        if manifest.kind is not kind or manifest.key != key:
            return Standing.BROKEN, None
        if manifest.format_version > FORMAT_VERSIONS[kind]:
            return Standing.LATER, None
        return Standing.WHOLE, manifest

    def keys(self, kind: Kind) -> Sequence[str]:
        """The names of a kind's folders that can be keys, sorted, whether or not the results are whole."""
        return [name for name in self.storage.folders(kind) if is_key(name)]

    def manifests(self, kind: Kind) -> Iterator[Manifest]:
        """The valid manifests of a kind, in order of their keys; also those that an earlier version of its stage made.

        Each costs two requests: who needs less than all of every manifest takes the catalogue.
        """
        for key in self.keys(kind):
            manifest = self.manifest(kind, key)
            if manifest is not None:
                yield manifest


def is_key(name: str) -> bool:
    """Whether a name can be that of a result."""
    return re.fullmatch(KEY_PATTERN, name) is not None


def written_later(kind: Kind, key: str) -> PegasusError:
    """The error for a result that a later release wrote."""
    message = "was written by a later version of pegasus-ray; use that release, or another library"
    return PegasusError(Reason.BAD_LIBRARY, message, subject=f"{kind}/{key}")


def _is_later(kind: Kind, data: bytes, error: ValidationError) -> bool:
    """Whether a manifest that cannot be read is a later release's: it has a later version, or nothing wrong but more fields."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return False
    version = found.get("format_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSIONS[kind]:
        return True
    return all(
        problem["type"] == "extra_forbidden" for problem in error.errors(include_input=False, include_context=False)
    )
