"""Reading a whole library and comparing it with its manifests."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass

import pyarrow.parquet as pq

from pegasus_ray.library.library import MANIFEST, Library, Standing
from pegasus_ray.library.mark import expect_ours
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.manifests import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What `verify` found."""

    manifests: int
    bad: tuple[str, ...]  # "kind/key/file: what is wrong"
    later: tuple[str, ...]  # "kind/key" of what a later release wrote, which is not looked into
    rows_checked: int


def verify(library: Library) -> Verification:
    """Read all payload files and compare them with their manifests; open every table and count its rows.

    The catalogue is made anew from the manifests.

    Raises:
        PegasusError: BAD_LIBRARY for a place that holds other things and does not say that it is a library.
    """
    expect_ours(library.storage)
    manifests, rows, bad, later = 0, 0, [], []
    for kind in Kind:
        for key in library.keys(kind):
            standing, manifest = library.examine(kind, key)
            if standing is Standing.LATER:
                later.append(f"{kind}/{key}")
            if standing is Standing.BROKEN:
                bad.append(f"{kind}/{key}/{MANIFEST}: invalid, or a payload file is missing or cut off")
            if manifest is None:
                continue
            manifests += 1
            for file in manifest.files:
                try:
                    data = library.read_entry(manifest, file.name)
                    rows += pq.read_metadata(io.BytesIO(data)).num_rows if file.path.endswith(".parquet") else 0
                except (PegasusError, OSError) as error:  # the digest rules out ArrowInvalid
                    bad.append(f"{kind}/{key}/{file.path}: {error}")
    with suppress(PegasusError, OSError):  # where a library can only be read, its catalogue stays as it is
        Catalogue(library).rebuild()
    return Verification(manifests=manifests, bad=tuple(bad), later=tuple(later), rows_checked=rows)
