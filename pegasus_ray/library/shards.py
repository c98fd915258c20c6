"""A swap is committed shard by shard, so that a killed run loses one shard at most. A shard is one row of the swap's plan.

A shard's name is derived from its row of the plan, and a file that is visible is complete (see `storage`). So the next run
need not make the shards that it finds. Readers use shards only through the manifest, which is written once all are there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pegasus_ray.library.keys import digest, key_of
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import Swap, read_swap_table, swap_bytes
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import FORMAT_VERSIONS, FileEntry, Kind, Manifest, Provenance
from pegasus_ray.schemas.tables import OK, SCORES

FRAMES_PER_SHARD = 64
"""Frames of a shard where the caller of `plan_shards` gives no number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One row of a plan: some frames of one swap."""

    swap: str  # key
    frames: tuple[int, ...]  # numbers in the target's track

    @property
    def name(self) -> str:
        """The file's name; it depends on the swap's key and the frames alone."""
        version = FORMAT_VERSIONS[Kind.SWAPS]
        return f"part-{key_of('shard', {'swap': self.swap}, {'frames': self.frames}, format_version=version)}.parquet"


def plan_shards(swap: str, frames: Sequence[int], *, per_shard: int = FRAMES_PER_SHARD) -> tuple[Shard, ...]:
    """The rows of a swap's plan, of `per_shard` frames each."""
    starts = range(0, len(frames), per_shard)
    return tuple(Shard(swap=swap, frames=tuple(int(i) for i in frames[at : at + per_shard])) for at in starts)


def missing_shards(library: Library, shards: Sequence[Shard]) -> tuple[Shard, ...]:
    """The shards that are still to be made."""
    there = {
        (key, entry.name)
        for key in {shard.swap for shard in shards}
        for entry in library.storage.files(f"{Kind.SWAPS}/{key}")
    }
    return tuple(shard for shard in shards if (shard.swap, shard.name) not in there)


def write_shard(library: Library, shard: Shard, swap: Swap) -> bool:
    """Commit one shard. False if another writer was first.

    Raises:
        PegasusError: INTERNAL if the frames are not those of the plan, DISK_FULL.
    """
    if sorted(swap.indices.tolist()) != sorted(shard.frames):
        raise PegasusError(
            Reason.INTERNAL, "the swapped frames are not the plan's", subject=f"{Kind.SWAPS}/{shard.swap}"
        )
    return library.create(f"{Kind.SWAPS}/{shard.swap}/{shard.name}", swap_bytes(swap))


def seal_swap(library: Library, key: str, shards: Sequence[Shard], provenance: Provenance) -> Manifest:
    """Write the manifest of a swap's shards, with the mean scores in its summary.

    Raises:
        PegasusError: CORRUPT if a shard is missing or cannot be read; it is removed, and the next run makes it again.
    """
    standing = library.manifest(Kind.SWAPS, key)
    if standing is not None:
        return standing
    entries, tables = [], []
    for shard in shards:
        entry, table = _inspect(library, shard)
        entries.append(entry)
        tables.append(table)
    rows = pa.concat_tables(tables)
    good = rows.filter(pc.equal(rows["status"], OK))
    summary: dict[str, float | int | str] = {"frames": len(good), "failed": len(rows) - len(good)}
    if len(good):
        means = {name: pc.mean(pc.struct_field(good["scores"], name)).as_py() for name in SCORES}
        summary |= {name: float(mean) for name, mean in means.items() if mean is not None}
    filled = provenance.model_copy(update={"summary": {**provenance.summary, **summary}})
    return library.seal(Kind.SWAPS, key, entries, filled)


def _inspect(library: Library, shard: Shard) -> tuple[FileEntry, pa.Table]:
    """A shard's entry in the manifest, and its columns of status and scores."""
    path = f"{Kind.SWAPS}/{shard.swap}/{shard.name}"
    try:
        data = library.storage.read(path)
        table = read_swap_table(data, path, ("status", "scores"))
    except (FileNotFoundError, PegasusError) as error:
        if isinstance(error, PegasusError) and error.reason is not Reason.CORRUPT:
            raise
        library.storage.remove(path)
        message = "a shard is missing or cannot be read; run the same command again to make it"
        raise PegasusError(Reason.CORRUPT, message, subject=path) from error
    return FileEntry(name=shard.name, path=shard.name, size=len(data), sha256=digest(data)), table
