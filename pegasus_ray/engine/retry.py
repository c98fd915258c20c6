"""Releases quarantined items, so that the next run tries them again."""

from __future__ import annotations

from collections.abc import Sequence

from pegasus_ray.library.library import Library
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.ledger import release
from pegasus_ray.library.records.status import Ledger
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import LedgerEvent


def find_quarantined(library: Library, references: Sequence[str]) -> list[LedgerEvent]:
    """Find the quarantined items that are named, or all of them if none is named.

    Args:
        library: whose ledger is read.
        references: keys, beginnings of keys, or names of inputs.

    Raises:
        PegasusError: BAD_REFERENCE for a reference that fits no quarantined item; the message names those that there are.
    """
    quarantined = Ledger(library).quarantined(Catalogue(library))
    for reference in references:
        if not any(_fits(reference, event) for event in quarantined):
            names = ", ".join(f"{event.key} ({event.subject})" for event in quarantined) or "nothing"
            raise PegasusError(Reason.BAD_REFERENCE, f"is not set aside. Set aside: {names}", subject=reference)
    return [
        event for event in quarantined if not references or any(_fits(reference, event) for reference in references)
    ]


def let_retry(library: Library, references: Sequence[str]) -> list[LedgerEvent]:
    """Release the items that `find_quarantined` finds: the next run tries them again."""
    released = find_quarantined(library, references)
    for event in released:
        release(library, event)
    return released


def _fits(reference: str, event: LedgerEvent) -> bool:
    return event.key.startswith(reference) or reference == event.subject
