"""Sweeping a library: leftovers of killed runs go to the trash, and the trash is emptied after a grace period.

Only what is ours is touched: files in folders that are named as keys, unfinished writes among the records, marks in the ledger,
and checkpoints that are named by stage and key. A result that a later release wrote is left alone.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from pegasus_ray.library.library import CHECKPOINTS, MANIFEST, Library, Standing, is_key
from pegasus_ray.library.mark import expect_ours
from pegasus_ray.library.records.catalogue import FOLDER as CATALOGUE
from pegasus_ray.library.records.ledger import LEDGER, MARKS_PREFIX
from pegasus_ray.library.records.recordings import FOLDER as RECORDINGS
from pegasus_ray.library.storage import TEMPORARY_PREFIX
from pegasus_ray.schemas.manifests import Kind, Stage

TRASH = "trash"
RECORDS = (LEDGER, CATALOGUE, RECORDINGS)
GRACE_SECONDS = 24 * 3600.0
"""What is younger may belong to a run that is still at work."""
TRASH_SECONDS = 24 * 3600.0
"""What has lain in the trash for less may be wanted back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What `sweep` did, or would do."""

    moved: tuple[str, ...]  # paths of files and checkpoint folders that went to the trash
    emptied: tuple[str, ...]  # folders of the trash that were removed for good


def sweep(library: Library, grace: float = GRACE_SECONDS, *, empty: bool = False, dry_run: bool = False) -> Sweep:
    """Move to the trash what no valid manifest names and no run needs, and remove what has lain there for a day.

    Args:
        library: the library.
        grace: seconds; younger files are left alone.
        empty: remove all of the trash, however young, with what is moved there now.
        dry_run: only say what would be done.

    Raises:
        PegasusError: BAD_LIBRARY for a place that holds other things and does not say that it is a library.
    """
    expect_ours(library.storage)
    leftovers = (
        *_unnamed_files(library, grace),
        *_record_leftovers(library, grace),
        *_useless_checkpoints(library, grace),
    )
    if not dry_run:
        folder = f"{TRASH}/{int(time.time()):012d}-{secrets.token_hex(4)}"
        for path in leftovers:
            library.storage.move(path, f"{folder}/{path}")
    emptied = tuple(
        f"{TRASH}/{name}" for name in library.storage.folders(TRASH) if empty or _trash_age(name) >= TRASH_SECONDS
    )
    if not dry_run:
        for old in emptied:
            library.storage.remove_tree(old)
    return Sweep(moved=leftovers, emptied=emptied)


def _unnamed_files(library: Library, grace: float) -> Iterator[str]:
    """Old files in results' folders that no valid manifest names."""
    for kind in Kind:
        for key in library.keys(kind):
            standing, manifest = library.examine(kind, key)
            if standing is not Standing.LATER:
                kept = {MANIFEST, *(file.path for file in manifest.files)} if manifest else set()
                yield from _old_files(library, f"{kind}/{key}", grace, without=kept)


def _record_leftovers(library: Library, grace: float) -> Iterator[str]:
    """Unfinished writes among the records, and the marks of swap runs that were killed."""
    for folder in (*RECORDS, *(f"{above}/{name}" for above in RECORDS for name in library.storage.folders(above))):
        is_marks = folder.startswith(f"{LEDGER}/{MARKS_PREFIX}")
        for path in _old_files(library, folder, grace):
            if is_marks or path.rpartition("/")[2].startswith(TEMPORARY_PREFIX):
                yield path


def _useless_checkpoints(library: Library, grace: float) -> Iterator[str]:
    """Checkpoint folders whose result is there, or that no run has written to for the grace period."""
    for work in library.storage.folders(CHECKPOINTS):
        stage, _, key = work.partition("-")
        if stage in tuple(Stage) and is_key(key):
            folder = f"{CHECKPOINTS}/{work}"
            ages = [entry.age for entry in library.storage.files(folder)]
            if library.exists(Stage(stage).kind, key) or (ages and min(ages) >= grace):
                yield folder


def _old_files(library: Library, folder: str, grace: float, *, without: Collection[str] = ()) -> list[str]:
    entries = library.storage.files(folder)
    return [f"{folder}/{entry.name}" for entry in entries if entry.age >= grace and entry.name not in without]


def _trash_age(name: str) -> float:
    """Seconds since something was moved to a folder of the trash, by the folder's name; 0 for a name that is not ours."""
    moment = name.partition("-")[0]
    return time.time() - int(moment) if moment.isdigit() else 0.0
