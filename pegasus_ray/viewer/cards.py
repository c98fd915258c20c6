"""One result of a library as a card on a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pegasus_ray.jobs.plan import called
from pegasus_ray.jobs.results import read_track
from pegasus_ray.library.images import decode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.swaps import load_swap
from pegasus_ray.library.track import Bytes
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.manifests import Kind, Manifest
from pegasus_ray.viewer.drawings import draw_avatar, draw_codes, draw_transfer
from pegasus_ray.viewer.pictures import Picture, close_ups, enlarge, in_colour, in_tint, picture_of, rows_of, spread

PREVIEW = "preview.png"
"""The payload in which a stage leaves a picture of its result."""
FRAMES = 6
"""Frames of a strip."""

Names = Mapping[str, str]  # of results, by key


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One result on the page."""

    title: str
    key: str
    line: str = ""  # what it is, in a few words
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    chips: tuple[str, ...] = ()
    pictures: tuple[tuple[str, Picture], ...] = ()  # caption, picture
    problem: str = ""  # why it cannot be shown


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """What a card shows of a result beyond its manifest."""

    line: str = ""
    pictures: Sequence[tuple[str, Bytes]] = ()  # caption, (H, W, 3)
    figures: Mapping[str, float | int] = field(default_factory=dict)


def card_of(library: Library, manifest: Manifest, names: Names) -> Card:
    """A result's card. One that cannot be drawn says so, and shows the picture that was stored with it.

    Args:
        library: where the result and its inputs are.
        manifest: of the result.
        names: of all results by key, for people to recognise the inputs.
    """
    try:
        shown, problem = _SHOW[manifest.kind](library, manifest, names), ""
    except PegasusError as error:
        shown, problem = _stored(library, manifest), f"It cannot be drawn: {error}"
    return Card(
        title=name_of(manifest),
        key=manifest.key,
        line=shown.line,
        figures={**shown.figures, **manifest.summary},
        chips=tuple(attribute.value for attribute in manifest.attributes),
        pictures=tuple((caption, picture_of(image)) for caption, image in shown.pictures),
        problem=problem,
    )


def name_of(manifest: Manifest) -> str:
    """What a person calls a result: whom it shows, or what was done."""
    return called(manifest) if manifest.kind in (Kind.AVATARS, Kind.MODELS) else manifest.source or manifest.key


def _show_track(library: Library, manifest: Manifest, names: Names) -> _Shown:
    track = read_track(library.location, manifest.key)
    rows = track.select(spread(len(track), FRAMES))
    sheet = rows_of(list(rows.images), list(rows.on_white()), list(in_colour(rows.parts)))
    seconds = float(track.times[-1] - track.times[0])
    line = f"{len(track)} frames of {track.size}², {seconds:.1f} s of video, rig {track.rig}"
    return _Shown(line=line, pictures=[("frames, mattes, parts", sheet)])


def _show_avatar(library: Library, manifest: Manifest, names: Names) -> _Shown:
    sheet, figures = draw_avatar(library, manifest)
    return _Shown(line=_from(manifest, names), pictures=[("truth above, avatar below", sheet)], figures=figures)


def _show_swap(library: Library, manifest: Manifest, names: Names) -> _Shown:
    swap = load_swap(library, manifest.key)
    chosen = spread(len(swap), FRAMES)
    rows = [list(swap.images[chosen]), list(in_tint(swap.part_masks[chosen]))]
    if library.exists(Kind.TRACKS, swap.target):
        target = read_track(library.location, swap.target)
        rows.insert(0, list(target.select(swap.indices[chosen].astype("int64")).on_white()))
    caption = "target, swapped, mask" if len(rows) == 3 else "swapped, mask"
    windows = close_ups(swap.part_masks[chosen] > 127)
    near = [[enlarge(picture, window) for picture, window in zip(row, windows, strict=True)] for row in rows]
    return _Shown(pictures=[(caption, rows_of(*near))])


def _show_model(library: Library, manifest: Manifest, names: Names) -> _Shown:
    drawn = list(draw_codes(library, manifest))
    learned = sum(bool(source) for _, source, _ in drawn)
    pictures = [
        (f"{attribute} of {names.get(source, source)}" if source else "own", column)
        for attribute, source, column in drawn
    ]
    return _Shown(line=f"{learned} codes learned from others", pictures=pictures)


def _show_transfer(library: Library, manifest: Manifest, names: Names) -> _Shown:
    user = names.get(manifest.input("user"), "the user")
    caption = f"{user} above, with what was borrowed below"
    return _Shown(line=_from(manifest, names), pictures=[(caption, draw_transfer(library, manifest))])


_SHOW: dict[Kind, Callable[[Library, Manifest, Names], _Shown]] = {
    Kind.TRACKS: _show_track,
    Kind.AVATARS: _show_avatar,
    Kind.SWAPS: _show_swap,
    Kind.MODELS: _show_model,
    Kind.TRANSFERS: _show_transfer,
}


def _stored(library: Library, manifest: Manifest) -> _Shown:
    """The preview, if there is one that can be read."""
    try:
        image = decode_png(library.read_entry(manifest, PREVIEW)).astype("uint8")
    except PegasusError:
        return _Shown()
    return _Shown(pictures=[("", image if image.ndim == 3 else in_tint(image))])


def _from(manifest: Manifest, names: Names) -> str:
    people = dict.fromkeys(names.get(item.key, item.key) for item in manifest.inputs if item.key)
    people.pop(name_of(manifest), None)
    return f"from {', '.join(people)}" if people else ""
