"""Makes the card of one result on the report's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pegasus_ray.jobs.preview import PREVIEW_FILE
from pegasus_ray.jobs.results import read_track
from pegasus_ray.library.images import decode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.payloads import read_payload
from pegasus_ray.library.swaps import load_swap
from pegasus_ray.library.track import Bytes
from pegasus_ray.schemas.errors import PegasusError
from pegasus_ray.schemas.evenly import evenly
from pegasus_ray.schemas.manifests import Kind, Manifest
from pegasus_ray.viewer.drawings import draw_avatar, draw_codes, draw_transfer
from pegasus_ray.viewer.pictures import (
    Picture,
    close_up_windows,
    colour_parts,
    embed,
    enlarge,
    sheet_of_rows,
    tint_mask,
)

MAX_FRAMES = 6
"""Greatest number of frames in a row of pictures."""

Names = Mapping[str, str]  # key of a result → the name that people know it by


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One result, as the page shows it."""

    title: str
    key: str
    line: str = ""  # a short description
    figures: Mapping[str, float | int | str] = field(default_factory=dict)
    chips: tuple[str, ...] = ()
    pictures: tuple[tuple[str, Picture], ...] = ()  # caption, picture
    problem: str = ""  # why it cannot be drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """What a card shows of a result beside its manifest."""

    line: str = ""
    pictures: Sequence[tuple[str, Bytes]] = ()  # caption, (H, W, 3)
    figures: Mapping[str, float | int] = field(default_factory=dict)


def card_of(library: Library, manifest: Manifest, names: Names) -> Card:
    """Make a result's card. If the result cannot be drawn, the card says why and shows the stored preview.

    Args:
        library: holds the result and its inputs.
        manifest: the result's.
        names: of the result and of its inputs by key.
    """
    try:
        content, problem = _CONTENT_OF[manifest.kind](library, manifest, names), ""
    except PegasusError as error:
        content, problem = _preview(library, manifest), f"It cannot be drawn: {error}"
    return Card(
        title=names[manifest.key],
        key=manifest.key,
        line=content.line,
        figures={**content.figures, **manifest.summary},
        chips=tuple(attribute.value for attribute in manifest.attributes),
        pictures=tuple((caption, embed(image)) for caption, image in content.pictures),
        problem=problem,
    )


def _track_content(library: Library, manifest: Manifest, names: Names) -> _Content:
    track = read_track(library.location, manifest.key)
    rows = track.select(evenly(len(track), MAX_FRAMES))
    sheet = sheet_of_rows(list(rows.images), list(rows.on_white()), list(colour_parts(rows.parts)))
    seconds = float(track.times[-1] - track.times[0])
    line = f"{len(track)} frames of {track.size}², {seconds:.1f} s of video, rig {track.rig}"
    return _Content(line=line, pictures=[("frames, mattes, parts", sheet)])


def _avatar_content(library: Library, manifest: Manifest, names: Names) -> _Content:
    sheet, figures = draw_avatar(library, manifest)
    return _Content(line=_made_from(manifest, names), pictures=[("truth above, avatar below", sheet)], figures=figures)


def _swap_content(library: Library, manifest: Manifest, names: Names) -> _Content:
    swap = load_swap(library, manifest.key)
    chosen = evenly(len(swap), MAX_FRAMES)
    rows = [list(swap.images[chosen]), list(tint_mask(swap.part_masks[chosen]))]
    if library.exists(Kind.TRACKS, swap.target):
        target = read_track(library.location, swap.target)
        rows.insert(0, list(target.select(swap.indices[chosen].astype("int64")).on_white()))
    caption = "target, swapped, mask" if len(rows) == 3 else "swapped, mask"
    windows = close_up_windows(swap.part_masks[chosen] > 127)
    enlarged = [[enlarge(picture, window) for picture, window in zip(row, windows, strict=True)] for row in rows]
    return _Content(pictures=[(caption, sheet_of_rows(*enlarged))])


def _model_content(library: Library, manifest: Manifest, names: Names) -> _Content:
    drawn = list(draw_codes(library, manifest))
    learned = sum(bool(source) for _, source, _ in drawn)
    pictures = [
        (f"{attribute} of {names.get(source, source)}" if source else "own", column)
        for attribute, source, column in drawn
    ]
    return _Content(line=f"{learned} codes learned from others", pictures=pictures)


def _transfer_content(library: Library, manifest: Manifest, names: Names) -> _Content:
    user = names.get(manifest.input("user"), "the user")
    caption = f"{user} above, with what was borrowed below"
    return _Content(line=_made_from(manifest, names), pictures=[(caption, draw_transfer(library, manifest))])


_CONTENT_OF: dict[Kind, Callable[[Library, Manifest, Names], _Content]] = {
    Kind.TRACKS: _track_content,
    Kind.AVATARS: _avatar_content,
    Kind.SWAPS: _swap_content,
    Kind.MODELS: _model_content,
    Kind.TRANSFERS: _transfer_content,
}


def _preview(library: Library, manifest: Manifest) -> _Content:
    """The stored preview; nothing if there is none that can be read."""
    try:
        image = decode_png(read_payload(library, manifest, PREVIEW_FILE)).astype("uint8")
    except PegasusError:
        return _Content()
    return _Content(pictures=[("", image if image.ndim == 3 else tint_mask(image))])


def _made_from(manifest: Manifest, names: Names) -> str:
    """The names of the inputs, each once, without the result's own."""
    people = dict.fromkeys(names.get(item.key, item.key) for item in manifest.inputs if item.key)
    people.pop(names[manifest.key], None)
    return f"from {', '.join(people)}" if people else ""
