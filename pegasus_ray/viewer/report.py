"""A library as one page that needs nothing else: pictures inside, no script, no address of another place."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined

from pegasus_ray.library.ledger import failures, history, status
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import load_swap
from pegasus_ray.library.tracks import load_track
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.manifests import EventKind, Kind, LedgerEvent, Manifest, Stage
from pegasus_ray.viewer.pictures import Picture, in_colour, in_grey, legend, picture_of, picture_of_png, rows_of, spread

PREVIEW = "preview.png"
"""The payload in which a stage leaves a picture of its result."""
MOST = 24
"""Cards of one kind on a page; of more, the first by name."""
FRAMES = 6
"""Frames of a strip."""

WAYS_OUT: dict[Reason, str] = {
    Reason.NOT_FOUND: "Check the path.",
    Reason.EMPTY_FILE: "Copy the file again; this one is empty.",
    Reason.NOT_A_VIDEO: "Give a video that OpenCV can read, as mp4 or webm.",
    Reason.TRUNCATED: "Copy or download the file again.",
    Reason.NO_FACE: "Give a video of one head that faces the camera.",
    Reason.TOO_FEW_FRAMES: "Give a longer video, or ask for fewer frames.",
    Reason.ASSET_MISSING: "Run `pegasus assets fetch`.",
    Reason.ASSET_CORRUPT: "Run `pegasus assets fetch`.",
    Reason.BAD_CONFIG: "Change the setting and run again.",
    Reason.BAD_LIBRARY: "Check the library's place and who may write there.",
    Reason.BAD_REFERENCE: "`pegasus status` lists what is there.",
    Reason.MISSING_ATTRIBUTE: "Plan another pair: the avatar has nothing of that kind to lend.",
    Reason.DIVERGED: "Run again with another seed: `--set fit.seed=1`.",
    Reason.OUT_OF_MEMORY: "Give more memory or a smaller `--size`, then `pegasus retry`.",
    Reason.DISK_FULL: "Make room and run the same command again.",
    Reason.WORKER_DIED: "Look into Ray's session folder, then `pegasus retry`.",
    Reason.CONSENT: "Record the consent with `--consent`, or leave the video out.",
    Reason.CORRUPT: "Remove the result's folder and run the same command again; `pegasus verify` lists all such.",
    Reason.INTERNAL: "This is a fault of the program; run again, and report it with the message.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One result on the page."""

    title: str
    key: str
    line: str = ""  # what it is, in a few words
    figures: tuple[tuple[str, str], ...] = ()
    chips: tuple[str, ...] = ()
    pictures: tuple[tuple[str, Picture], ...] = ()  # caption, picture
    problem: str = ""  # why it cannot be shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Cards of one kind."""

    name: str
    title: str
    about: str
    cards: tuple[Card, ...]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the template shows."""

    title: str
    made: str
    headline: tuple[tuple[str, str, str], ...]  # figure, its name, a remark
    sections: tuple[Section, ...]
    failures: tuple[dict[str, str], ...]
    results: tuple[dict[str, object], ...]
    legend: list[tuple[str, str]] = field(default_factory=legend)


def write_report(library: Library, path: Path) -> Path:
    """Write a page about all that a library holds.

    Args:
        library: what it is about. Results that cannot be read are named on the page.
        path: the HTML file, replaced if it is there; its folder is made.

    Returns:
        the path.

    Raises:
        PegasusError: BAD_CONFIG if the file cannot be written.
    """
    text = render_page(page_of(library))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        message = f"cannot be written ({error.strerror}); give another place with --out"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=str(path)) from error
    return path


def render_page(page: Page) -> str:
    """The page as HTML; every text in it is escaped."""
    environment = Environment(
        loader=PackageLoader("pegasus_ray.viewer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(page=page)


def page_of(library: Library) -> Page:
    """Read what a page shows."""
    found = {kind: sorted(library.manifests(kind), key=lambda m: (m.source, m.key)) for kind in Kind}
    names = {manifest.key: _name(manifest) for manifests in found.values() for manifest in manifests}
    failed = failures(library)
    sections = (
        _section(Kind.TRACKS, found, lambda m: _track_card(library, m)),
        _section(Kind.AVATARS, found, lambda m: _preview_card(library, m, names, "truth above, avatar below")),
        _section(Kind.SWAPS, found, lambda m: _swap_card(library, m, names)),
        _section(Kind.MODELS, found, lambda m: _preview_card(library, m, names, "")),
        _section(Kind.TRANSFERS, found, lambda m: _preview_card(library, m, names, "")),
    )
    return Page(
        title=PurePosixPath(library.location).name or "library",
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        headline=tuple(_headline(library, found, failed)),
        sections=tuple(section for section in sections if section.total),
        failures=tuple(_failure(event) for event in failed),
        results=tuple(_result(manifest) for manifests in found.values() for manifest in manifests),
    )


_TITLES = {
    Kind.TRACKS: ("Tracks", "Videos after perception: frames of the clip, and the parts that were found in them."),
    Kind.AVATARS: ("Avatars", "Point models of one person each, on frames that their fit has never seen."),
    Kind.SWAPS: ("Swaps", "The target's frames with one attribute borrowed from one avatar, and where it was put."),
    Kind.MODELS: ("Generative avatars", "One person with codes for the attributes: the borrowed ones, recombined."),
    Kind.TRANSFERS: ("Transfers", "Attributes on a new user's avatar, without any training."),
}
_Made = TypeVar("_Made")


def _section(kind: Kind, found: dict[Kind, list[Manifest]], card: Callable[[Manifest], Card]) -> Section:
    manifests = found[kind]
    title, about = _TITLES[kind]
    cards = tuple(card(manifest) for manifest in manifests[:MOST])
    return Section(name=kind.value, title=title, about=about, cards=cards, total=len(manifests))


def _track_card(library: Library, manifest: Manifest) -> Card:
    def shown() -> tuple[str, list[tuple[str, Picture]]]:
        track = load_track(library, manifest.key)
        rows = track.select(spread(len(track), FRAMES))
        sheet = rows_of(list(rows.images), list(rows.on_white()), list(in_colour(rows.parts)))
        seconds = float(track.times[-1] - track.times[0])
        line = f"{len(track)} frames of {track.size}², {seconds:.1f} s of video, rig {track.rig}"
        return line, [("frames, mattes, parts", picture_of(sheet))]

    return _card(manifest, _name(manifest), shown)


def _preview_card(library: Library, manifest: Manifest, names: dict[str, str], caption: str) -> Card:
    def shown() -> tuple[str, list[tuple[str, Picture]]]:
        made_of = ", ".join(dict.fromkeys(names.get(item.key, item.key) for item in manifest.inputs if item.key))
        line = f"from {made_of}" if made_of else ""
        if manifest.file(PREVIEW) is None:
            return line, []
        return line, [(caption, picture_of_png(library.read_entry(manifest, PREVIEW)))]

    return _card(manifest, _name(manifest), shown)


def _swap_card(library: Library, manifest: Manifest, names: dict[str, str]) -> Card:
    keys = {item.name: item.key for item in manifest.inputs}

    def shown() -> tuple[str, list[tuple[str, Picture]]]:
        swap = load_swap(library, manifest.key)
        chosen = spread(len(swap), FRAMES)
        rows = [list(swap.images[chosen]), list(in_grey(swap.part_masks[chosen]))]
        if library.exists(Kind.TRACKS, swap.target):
            track = load_track(library, swap.target)
            rows.insert(0, list(track.select(swap.indices[chosen].astype("int64")).on_white()))
        lender, target = (names.get(key, key) for key in (swap.avatar, swap.target))
        caption = "target, swapped, mask" if len(rows) == 3 else "swapped, mask"
        return f"{swap.attribute} of {lender} on {target}", [(caption, picture_of(rows_of(*rows)))]

    return _card(manifest, names.get(keys.get("avatar", ""), "") or _name(manifest), shown)


def _card(manifest: Manifest, title: str, shown: Callable[[], tuple[str, list[tuple[str, Picture]]]]) -> Card:
    """A card; one that cannot be read says so instead of stopping the page."""
    try:
        line, pictures = shown()
        problem = "" if pictures else "It has no picture of itself."
    except PegasusError as error:
        line, pictures, problem = "", [], str(error)
    return Card(
        title=title,
        key=manifest.key,
        line=line,
        figures=tuple((name.replace("_", " "), _figure(value)) for name, value in manifest.summary.items()),
        chips=tuple(attribute.value for attribute in manifest.attributes),
        pictures=tuple(pictures),
        problem=problem,
    )


def _headline(
    library: Library, found: dict[Kind, list[Manifest]], failed: Sequence[LedgerEvent]
) -> Iterable[tuple[str, str, str]]:
    for kind, (title, _) in _TITLES.items():
        if found[kind]:
            yield str(len(found[kind])), title.lower(), ""
    scores = sorted(float(m.summary["psnr"]) for m in found[Kind.AVATARS] if "psnr" in m.summary)
    if scores:
        yield f"{scores[len(scores) // 2]:.1f} dB", "median psnr", "of avatars on unseen frames"
    spent = sum(e.seconds for stage in Stage for e in history(library, stage) if e.event is EventKind.DONE)
    if spent:
        yield _duration(spent), "of work", "all stages, all workers"
    waiting = sum(counts.waiting + counts.running for counts in status(library).values())
    if waiting:
        yield str(waiting), "to do", "planned, not made yet"
    if failed:
        yield str(len(failed)), "failures", "named below"


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


def _result(manifest: Manifest) -> dict[str, object]:
    return {
        "kind": manifest.kind.value,
        "key": manifest.key,
        "source": manifest.source,
        "files": len(manifest.files),
        "size": _bytes(sum(file.size for file in manifest.files)),
        "seed": manifest.seed,
        "consent": manifest.consent,
        "manifest": json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False),
    }


def _name(manifest: Manifest) -> str:
    return manifest.source or manifest.key


def _figure(value: float | int | str) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else value


def _bytes(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3 * 3600 else f"{seconds / 3600:.1f} h"
