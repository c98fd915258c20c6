"""A swap is committed shard by shard, so that a killed run loses one shard at most. A shard is one row of the swap's plan.

A shard's name is derived from its row of the plan, and a file that is visible is complete (see `storage`). So the next run
need not make the shards that it finds. Who makes or finds a shard reports its digest and scores, so that the manifest, which
comes once all are there, is written without reading the shards again. Readers use them only through the manifest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardReport:
    """What the manifest needs to know of a shard that is there."""

    name: str
    size: int  # bytes
    sha256: str
    frames: int = 0  # that are good
    failed: int = 0
    sums: Mapping[str, float] = field(default_factory=dict)  # of each score over the frames that have it
    counts: Mapping[str, int] = field(default_factory=dict)  # how many frames have it

    def to_json(self) -> str:
        """The report as text, in which form it passes between processes."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> ShardReport:
        """The report in a text of `to_json`."""
        return ShardReport(**json.loads(text))


def write_shard(library: Library, shard: Shard, swap: Swap) -> ShardReport:
    """Commit one shard, unless another writer was first; the report is of the shard that is there.

    Raises:
        PegasusError: INTERNAL if the frames are not those of the plan, DISK_FULL.
    """
    if sorted(swap.indices.tolist()) != sorted(shard.frames):
        raise PegasusError(
            Reason.INTERNAL, "the swapped frames are not the plan's", subject=f"{Kind.SWAPS}/{shard.swap}"
        )
    data = swap_bytes(swap)
    while not library.create(f"{Kind.SWAPS}/{shard.swap}/{shard.name}", data):
        found = find_shard(library, shard)
        if found is not None:
            return found
    return _report(shard, data)


def find_shard(library: Library, shard: Shard) -> ShardReport | None:
    """The report of a shard that an earlier try has left. None if there is none; one that cannot be read is removed."""
    path = f"{Kind.SWAPS}/{shard.swap}/{shard.name}"
    try:
        return _report(shard, library.storage.read(path))
    except FileNotFoundError:
        return None
    except PegasusError as error:
        if error.reason is not Reason.CORRUPT:
            raise
        library.storage.remove(path)
        return None


def seal_swap(
    library: Library, key: str, shards: Sequence[Shard], reports: Sequence[ShardReport], provenance: Provenance
) -> Manifest:
    """Write the manifest of a swap's shards, with the mean scores in its summary.

    Raises:
        PegasusError: CORRUPT if a shard has no report; the next run makes it.
    """
    by_name = {report.name: report for report in reports}
    if missing := [shard.name for shard in shards if shard.name not in by_name]:
        message = "a shard is missing or cannot be read; run the same command again to make it"
        raise PegasusError(Reason.CORRUPT, message, subject=f"{Kind.SWAPS}/{key}/{missing[0]}")
    told = [by_name[shard.name] for shard in shards]
    summary: dict[str, float | int | str] = {
        "frames": sum(report.frames for report in told),
        "failed": sum(report.failed for report in told),
    }
    for name in SCORES:
        if count := sum(report.counts.get(name, 0) for report in told):
            summary[name] = sum(report.sums.get(name, 0.0) for report in told) / count
    filled = provenance.model_copy(update={"summary": {**provenance.summary, **summary}})
    entries = [FileEntry(name=r.name, path=r.name, size=r.size, sha256=r.sha256) for r in told]
    return library.seal(Kind.SWAPS, key, entries, filled)


def _report(shard: Shard, data: bytes) -> ShardReport:
    """The report of a shard's file. Raises PegasusError as `read_swap_table`."""
    table = read_swap_table(data, f"{Kind.SWAPS}/{shard.swap}/{shard.name}", ("status", "scores"))
    good = table.filter(pc.equal(table["status"], OK))
    scores = {name: pc.struct_field(good["scores"], name) for name in SCORES}
    counts = {name: pc.count(values).as_py() for name, values in scores.items()}
    return ShardReport(
        name=shard.name,
        size=len(data),
        sha256=digest(data),
        frames=len(good),
        failed=len(table) - len(good),
        sums={name: float(pc.sum(values).as_py()) for name, values in scores.items() if counts[name]},
        counts=counts,
    )
