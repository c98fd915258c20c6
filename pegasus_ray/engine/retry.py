"""Letting runs try again what was set aside."""

from __future__ import annotations

from collections.abc import Sequence

from pegasus_ray.library.ledger import failures, release
from pegasus_ray.library.library import Library
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, LedgerEvent, PlannedItem


def set_aside(library: Library, references: Sequence[str]) -> list[LedgerEvent]:
    """The items set aside that `references` name: keys, beginnings of keys, inputs. All of them where none is named.

    Raises:
        PegasusError: BAD_REFERENCE for a reference that fits none; the message names those that there are.
    """
    waiting = [event for event in failures(library) if event.event is EventKind.QUARANTINED]
    for reference in references:
        if not any(_means(reference, event) for event in waiting):
            names = ", ".join(f"{event.key} ({event.subject})" for event in waiting) or "nothing"
            raise PegasusError(Reason.BAD_REFERENCE, f"is not set aside. Set aside: {names}", subject=reference)
    return [event for event in waiting if not references or any(_means(reference, event) for reference in references)]


def let_retry(library: Library, references: Sequence[str]) -> list[LedgerEvent]:
    """Release what `set_aside` finds: the next run tries it again."""
    released = set_aside(library, references)
    for event in released:
        release(library, PlannedItem(stage=event.stage, key=event.key, subject=event.subject))
    return released


def _means(reference: str, event: LedgerEvent) -> bool:
    return event.key.startswith(reference) or reference == event.subject
