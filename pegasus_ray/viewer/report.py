"""Writes a library as one HTML page that needs nothing else: pictures are embedded, and there are no scripts or links."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

from jinja2 import Environment, PackageLoader, StrictUndefined

from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.records.status import Ledger, status
from pegasus_ray.schemas.errors import Reason
from pegasus_ray.schemas.manifests import EventKind, Kind, LedgerEvent, Manifest, ResultEntry
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.schemas.tables import SCORES
from pegasus_ray.viewer.cards import Card, card_of
from pegasus_ray.viewer.output_file import writing_to
from pegasus_ray.viewer.pictures import part_legend

MAX_CARDS = 24
"""Greatest number of cards of one kind on a page; of more results, the first by name are shown."""
MAX_ROWS = 500
"""Greatest number of failures, and of results of one kind, that a page lists."""

TITLES: dict[Kind, tuple[str, str]] = {  # title and description of each section
    Kind.TRACKS: ("Tracks", "Videos after perception: frames of the clip, and the parts that were found in them."),
    Kind.AVATARS: ("Avatars", "Point models of one person each, on frames that their fit has never seen."),
    Kind.SWAPS: ("Swaps", "The target's frames with one attribute borrowed from one avatar, and where it was put."),
    Kind.MODELS: ("Generative avatars", "One person with a code for each attribute: their own, and borrowed ones."),
    Kind.TRANSFERS: ("Transfers", "Attributes on a new user's avatar, without any training."),
}
WAYS_OUT: dict[Reason, str] = {  # what a user can do about each kind of failure
    Reason.NOT_FOUND: "Check the path.",
    Reason.EMPTY_FILE: "Copy the file again; this one is empty.",
    Reason.NOT_A_VIDEO: "Give a video that OpenCV can read, as mp4 or webm.",
    Reason.TRUNCATED: "Copy or download the file again.",
    Reason.NO_FACE: "Give a video of one head that faces the camera.",
    Reason.SEVERAL_PEOPLE: "Cut the video so that it shows one person.",
    Reason.TOO_FEW_FRAMES: "Give a longer video, or ask for fewer frames.",
    Reason.ASSET_MISSING: "Run pegasus assets fetch.",
    Reason.ASSET_CORRUPT: "Run pegasus assets fetch.",
    Reason.BAD_CONFIG: "Change the setting and run again.",
    Reason.BAD_LIBRARY: "Check the library's place and who may write there.",
    Reason.BAD_REFERENCE: "See pegasus status for what is there.",
    Reason.MISSING_ATTRIBUTE: "Plan another pair: the avatar has nothing of that kind to lend.",
    Reason.DIVERGED: "Run again with another seed: --set fit.seed=1.",
    Reason.OUT_OF_MEMORY: "Give more memory or a smaller --size, then pegasus retry.",
    Reason.DISK_FULL: "Make room and run the same command again.",
    Reason.WORKER_DIED: "Look into Ray's session folder, then pegasus retry.",
    Reason.TIMED_OUT: "Give it more time with engine.STAGE.timeout_minutes, then pegasus retry.",
    Reason.CORRUPT: "Remove the result's folder and run the same command again; pegasus verify lists all such.",
    Reason.INTERNAL: "A fault of the program: run again, and report it with the message.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Results of one kind."""

    name: str
    title: str
    about: str
    cards: tuple[Card, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the page's template shows."""

    title: str
    made: str  # date and time, UTC
    headline: tuple[tuple[str, str, str], ...]  # number, its name, a remark
    sections: tuple[Section, ...]
    swaps: tuple[
        tuple[str, ...], ...
    ]  # how the swaps of each attribute came out: its name and figures; the first row names them
    failures: tuple[dict[str, str], ...]
    failed: int
    results: tuple[dict[str, object], ...]
    results_in_all: int
    legend: list[tuple[str, str]] = field(default_factory=part_legend)


def write_report(catalogue: Catalogue, path: Path, *, progress: Progress | None = None) -> Path:
    """Write a page about the results and failures of a library.

    Args:
        catalogue: of the library whose results are shown. Those that cannot be read are named on the page.
        path: the HTML file, which is replaced if it is there; its folder is made.
        progress: told the share done and a short text.

    Returns:
        the path.

    Raises:
        PegasusError: BAD_CONFIG if the file cannot be written.
    """
    text = render_page(page_of(catalogue, progress))
    with writing_to(path, way_out="give another place with --out"):
        path.write_text(text, encoding="utf-8")
    return path


def render_page(page: Page) -> str:
    """The page as HTML; every text in it is escaped."""
    return _environment().get_template("report.html").render(page=page)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pegasus_ray.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["figure"] = _figure
    return environment


def page_of(catalogue: Catalogue, progress: Progress | None = None) -> Page:
    """Read and draw all that the page shows. Manifests are read of the results alone that are drawn."""
    library, ledger = catalogue.library, Ledger(catalogue.library)
    found = {kind: _by_name(catalogue, kind) for kind in Kind}
    drawn = [entry for entries in found.values() for entry in entries[:MAX_CARDS]]
    cards: dict[Kind, list[Card]] = {kind: [] for kind in Kind}
    manifests: dict[str, Manifest] = {}
    for number, entry in enumerate(drawn):
        if progress:
            progress(number / len(drawn), f"{entry.kind} {catalogue.name(entry)}")
        manifest = library.manifest(entry.kind, entry.key)
        if manifest is not None:  # else it was removed or damaged since the catalogue was read
            manifests[entry.key] = manifest
            cards[entry.kind].append(card_of(library, manifest, _names(catalogue, entry)))
    failed = ledger.failures(catalogue)
    listed = [entry for entries in found.values() for entry in entries[:MAX_ROWS]]
    return Page(
        title=PurePosixPath(library.location).name or "library",
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        headline=tuple(_headline(catalogue, ledger, found, cards[Kind.AVATARS])),
        sections=tuple(
            Section(name=kind.value, title=title, about=about, cards=tuple(cards[kind]), total=len(found[kind]))
            for kind, (title, about) in TITLES.items()
            if found[kind]
        ),
        swaps=tuple(_swap_figures(found[Kind.SWAPS])),
        failures=tuple(_failure(event) for event in failed[:MAX_ROWS]),
        failed=len(failed),
        results=tuple(_result(catalogue, entry, manifests.get(entry.key)) for entry in listed),
        results_in_all=sum(map(len, found.values())),
    )


def _by_name(catalogue: Catalogue, kind: Kind) -> list[ResultEntry]:
    return sorted(catalogue.entries(kind), key=lambda entry: (catalogue.name(entry), entry.key))


def _names(catalogue: Catalogue, entry: ResultEntry) -> dict[str, str]:
    """The names of a result and of its inputs, and of the avatars from which a model has learned."""
    keys = [entry.key, *entry.inputs.values()]
    if entry.kind is Kind.MODELS:
        swaps = [catalogue.get(Kind.SWAPS, key) for key in entry.inputs.values()]
        keys += [key for swap in swaps if swap for key in swap.inputs.values()]
    held = ((key, catalogue.get(kind, key)) for key in dict.fromkeys(keys) for kind in Kind)
    return {key: catalogue.name(found) for key, found in held if found is not None}


def _swap_figures(swaps: Sequence[ResultEntry]) -> Iterable[tuple[str, ...]]:
    """A row for each attribute: how many swaps and frames, and the median of each score; before them a row of names."""
    scores = [name for name in SCORES if any(name in swap.summary for swap in swaps)]
    if len(swaps) > MAX_CARDS:
        yield ("attribute", "swaps", "frames", *scores)
        for attribute in Attribute:
            those = [swap for swap in swaps if attribute in swap.attributes]
            if those:
                found = ([float(swap.summary[name]) for swap in those if name in swap.summary] for name in scores)
                medians = (f"{statistics.median(values):.3f}" if values else "" for values in found)
                frames = sum(int(swap.summary.get("frames", 0)) for swap in those)
                yield attribute.value, f"{len(those):,}", f"{frames:,}", *medians


def _headline(
    catalogue: Catalogue, ledger: Ledger, found: Mapping[Kind, Sequence[ResultEntry]], avatars: Sequence[Card]
) -> Iterable[tuple[str, str, str]]:
    """The numbers at the top of the page: number, its name, a remark."""
    for kind, (title, _) in TITLES.items():
        if count := len(found[kind]):
            yield f"{count:,}", (title if count > 1 else title.removesuffix("s")).lower(), ""
    scores = [float(card.figures["psnr"]) for card in avatars if "psnr" in card.figures]
    if scores:
        yield (
            f"{statistics.median(scores):.1f} dB",
            "median psnr",
            "of the avatars shown, on frames that no fit has seen",
        )
    seconds = sum(event.seconds for event in ledger.history if event.event is EventKind.DONE)
    if seconds:
        yield _duration(seconds), "of work", "all stages, all workers"
    waiting = sum(counts.waiting + counts.running for counts in status(catalogue, ledger).values())
    if waiting:
        yield f"{waiting:,}", "to do", "planned, not made yet"
    if failed := len(ledger.failures(catalogue)):
        yield f"{failed:,}", "failed", "named below"


def _failure(event: LedgerEvent) -> dict[str, str]:
    reason = event.reason or Reason.INTERNAL
    return {
        "subject": event.subject or event.key,
        "stage": event.stage.value,
        "reason": reason.value.replace("_", " "),
        "message": event.message,
        "way_out": WAYS_OUT[reason],
        "set_aside": "set aside" if event.event is EventKind.QUARANTINED else "",
    }


def _result(catalogue: Catalogue, entry: ResultEntry, manifest: Manifest | None) -> dict[str, object]:
    """A row of the table of results, with the manifest where it was read."""
    return {
        "kind": entry.kind.value,
        "key": entry.key,
        "name": catalogue.name(entry),
        "consent": "; ".join(dict.fromkeys(person.consent for person in catalogue.people(entry) if person.consent)),
        "files": entry.files,
        "size": _bytes(entry.size),
        "manifest": json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) if manifest else "",
    }


def _figure(value: float | int | str) -> str:
    """A number as people read it; texts stay as they are."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:.4g}"
    return f"{value:,.0f}" if isinstance(value, int | float) else value


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} h"
