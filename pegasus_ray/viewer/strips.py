"""Strips of pictures that go from one person's attribute to another's, step by step (paper Fig. 9)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pegasus_ray.jobs.results import read_track
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes
from pegasus_ray.render.images import contact_sheet
from pegasus_ray.schemas.errors import PegasusError, Reason
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.transfer import TransferConfig
from pegasus_ray.viewer.dressed_person import Mix, assemble

Ends = tuple[str, str]
"""Two codes: avatars that the model has learned from, or `own`."""


def parse_ends(text: str) -> Ends:
    """Ends written `FIRST:SECOND`.

    Raises:
        PegasusError: BAD_CONFIG for anything else.
    """
    first, _, second = text.partition(":")
    if not first or not second or ":" in second:
        message = "write FIRST:SECOND, as own:anna; `own` is the person's own"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=text)
    return first, second


def draw_strips(
    library: Library,
    reference: str,
    ends: Mapping[Attribute, Ends],
    config: TransferConfig,
    out: Path,
    *,
    wear: Mapping[Attribute, str] | None = None,
    mixes: Mapping[Attribute, Mix] | None = None,
    driver: str | None = None,
    steps: int = 8,
    size: int | None = None,
    progress: Progress | None = None,
) -> int:
    """Draw a row of `steps` + 1 pictures an attribute into a PNG, and return the number of pictures.

    Args:
        library: where everybody is.
        reference: key or name of a generative avatar.
        ends: from which code to which, an attribute a row.
        config: of the seams, where points of one avatar are put on another.
        out: the file; its folder is made.
        wear: what is worn in all pictures, as in `assemble`.
        mixes: what is mixed in all pictures, as in `assemble`.
        driver: key of the track whose middle frame, of those that no fit has seen, gives pose and expression; the person's
            own where none is named.
        steps: from one end to the other.
        size: side in pixels, the track's own where it is not given.
        progress: told the share done and a short text.

    Raises:
        PegasusError: BAD_REFERENCE, MISSING_ATTRIBUTE as in `assemble`; BAD_CONFIG if the file cannot be written.
    """
    places = [(attribute, *pair, step / steps) for attribute, pair in ends.items() for step in range(steps + 1)]
    pictures: list[Bytes] = []
    for number, (attribute, first, second, share) in enumerate(places):
        if progress:
            progress(number / len(places), f"{attribute}, {number} of {len(places)} pictures")
        mixed = {**(mixes or {}), attribute: Mix(first=first, second=second, share=share)}
        look = assemble(library, reference, config, wear=wear, mixes=mixed)
        track = read_track(library.location, driver or look.track)
        unseen = track.held_out()[1]
        pictures += render_clip(look.avatar, track, frames=[int(unseen[len(unseen) // 2])], size=size)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(encode_png(contact_sheet(pictures, columns=steps + 1)))
    except OSError as error:
        message = f"cannot be written ({error.strerror}); give another place"
        raise PegasusError(Reason.BAD_CONFIG, message, subject=str(out)) from error
    return len(pictures)
