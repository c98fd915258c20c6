"""Reads payload files of results that need not be trusted: the manifest's size is looked at before the file is read."""

from __future__ import annotations

from typing import Final

from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import Kind, Manifest

_GIB: Final = 1 << 30
MAX_FILE_BYTES: Final = {
    Kind.TRACKS: 8 * _GIB,  # 256 frames of 2048² with depth and normals
    Kind.AVATARS: 4 * _GIB,  # two million points with 64 components
    Kind.SWAPS: 2 * _GIB,  # 64 frames of 2048²
    Kind.MODELS: 8 * _GIB,
    Kind.TRANSFERS: 4 * _GIB,
}
"""Bytes of one payload file of each kind; a file is read into memory whole."""
MAX_SMALL_FILE_BYTES: Final = 64 << 20
"""Bytes of a file beside the tables and tensors: `config.json`, a preview."""
LARGE_FILES: Final = (".parquet", ".safetensors")
"""Suffixes of tables and tensors."""


def read_payload(library: Library, manifest: Manifest, name: str) -> bytes:
    """The content of a result's file, checked against its digest.

    Raises:
        PegasusError: as `Library.read_entry`; CORRUPT for a file that is larger than any that this package writes.
    """
    entry = manifest.file(name)
    largest = MAX_FILE_BYTES[manifest.kind] if name.endswith(LARGE_FILES) else MAX_SMALL_FILE_BYTES
    if entry is not None and entry.size > largest:
        message = (
            f"{entry.path} has {entry.size} bytes, more than the {largest} that such a file may have; remove the result"
        )
        raise PegasusError(Reason.CORRUPT, message, subject=f"{manifest.kind}/{manifest.key}")
    return library.read_entry(manifest, name)
