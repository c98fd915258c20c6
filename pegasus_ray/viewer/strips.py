"""Draws strips of pictures that go from one code of an attribute to another, step by step (paper Fig. 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pegasus_ray.jobs.results import read_track
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.records.catalogue import Catalogue
from pegasus_ray.library.track import Bytes
from pegasus_ray.render.images import contact_sheet
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.schemas.progress import Progress
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.transfer import TransferConfig
from pegasus_ray.viewer.codes import CodeMix, CodePair
from pegasus_ray.viewer.draw_person import frames_to_draw
from pegasus_ray.viewer.dressed_person import Outfit, dress_person
from pegasus_ray.viewer.output_file import writing_to


@dataclass(frozen=True, slots=True, kw_only=True)
class Strips:
    """Rows of pictures of one person, a row for each attribute that changes."""

    person: str  # key or name of a generative avatar
    ends: Mapping[Attribute, CodePair]  # the codes of the first and the last picture of each row
    steps: int = 8  # from one end to the other; a row has one picture more
    outfit: Outfit = field(default_factory=Outfit)  # what is worn and mixed in all pictures
    driver: str | None = None  # key of the track that gives pose, expression and camera; by default the person's own
    size: int | None = None  # side of a picture in pixels; by default the track's own


def draw_strips(
    catalogue: Catalogue, strips: Strips, config: TransferConfig, out: Path, *, progress: Progress | None = None
) -> int:
    """Draw strips into a PNG and return the number of pictures.

    All pictures show the middle one of the driving track's frames that no fit has seen.

    Args:
        catalogue: of the library that holds the avatars and the driving track.
        strips: whom to draw, and which codes.
        config: of the transfer, as in `dress_person`.
        out: the file; its folder is made.
        progress: told the share done and a short text.

    Raises:
        PegasusError: BAD_REFERENCE, MISSING_ATTRIBUTE as in `dress_person`; BAD_CONFIG if the file cannot be written.
    """
    steps, outfit = strips.steps, strips.outfit
    places = [(attribute, *pair, step / steps) for attribute, pair in strips.ends.items() for step in range(steps + 1)]
    pictures: list[Bytes] = []
    for number, (attribute, first, second, share) in enumerate(places):
        if progress:
            progress(number / len(places), f"{attribute}, {number} of {len(places)} pictures")
        between = CodeMix(first=first, second=second, share=share)
        worn = replace(outfit, mixes={**outfit.mixes, attribute: between})
        person = dress_person(catalogue, strips.person, worn, config)
        track = read_track(catalogue.library.location, strips.driver or person.track)
        unseen = frames_to_draw(track, unseen=True)
        pictures += render_clip(person.avatar, track, frames=[unseen[len(unseen) // 2]], size=strips.size)
    with writing_to(out):
        out.write_bytes(encode_png(contact_sheet(pictures, columns=steps + 1)))
    return len(pictures)
