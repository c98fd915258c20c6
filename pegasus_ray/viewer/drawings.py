"""What a page draws itself: avatars on unseen frames beside the truth, codes side by side, what was borrowed.

Legend: S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pegasus_ray.avatar.borrow.parts import COVERS_SCALP
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.evaluate.avatar import evaluate_avatar
from pegasus_ray.jobs.results import read_avatar, read_generative, read_track
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.schemas.manifests import Kind, Manifest
from pegasus_ray.schemas.parts import Attribute, labels_of
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.transfer import dressed
from pegasus_ray.viewer.pictures import Window, close_ups, enlarge, rows_of, spread

FEATURES = [label for attribute in Attribute if attribute not in COVERS_SCALP for label in labels_of(attribute.part)]
"""What the face's attributes look like in a part map."""
CODES = 24
"""Codes of a generative avatar on a page, at most."""


def draw_avatar(library: Library, manifest: Manifest) -> tuple[Bytes, dict[str, float | int]]:
    """Truth above render on unseen frames, and the figures of `evaluate avatar`.

    Raises:
        PegasusError: where the avatar or its track cannot be read.
    """
    track = read_track(library.location, manifest.input("track"))
    score, sheet = evaluate_avatar(track, read_avatar(library, manifest.key))
    return sheet, {"psnr": score.psnr, "ssim": score.ssim, "psnr_face": score.psnr_face}


def draw_codes(library: Library, manifest: Manifest) -> Iterator[tuple[str, str, Bytes]]:
    """A generative avatar under its own codes and under each that it has learned; of the face's attributes the face alone.

    Yields:
        attribute, key of the avatar that the code was learned from, and two unseen frames one below the other,
        (2·S, S, 3); no key for its own codes, which come first and again before the faces.
    """
    generative = read_generative(library, manifest.key)
    track = read_track(library.location, manifest.input("track"))
    faces = close_ups(np.isin(track.select(_unseen(track, 2)).parts, FEATURES), margin=0.6)
    learned = [(attribute, name) for attribute, block in generative.blocks.items() for name in block.sources[1:]]
    for attributes, windows in ((COVERS_SCALP, None), (set(Attribute) - set(COVERS_SCALP), faces)):
        chosen = [(attribute, name) for attribute, name in learned[:CODES] if attribute in attributes]
        if chosen or windows is None:
            yield "", "", _column(dressed(generative, {}), track, windows)
        for attribute, name in chosen:
            yield attribute.value, name, _column(dressed(generative, {attribute: name}), track, windows)


def draw_transfer(library: Library, manifest: Manifest) -> Bytes:
    """A new user's avatar as it is, and below it wearing what was borrowed, on unseen frames."""
    track = read_track(library.location, manifest.input("track"))
    frames = _unseen(track, 6)
    before = read_avatar(library, manifest.input("user"))
    after = read_avatar(library, manifest.key, Kind.TRANSFERS)
    return rows_of(*(list(render_clip(avatar, track, frames=frames)) for avatar in (before, after)))


def _column(avatar: Avatar, track: Track, windows: Sequence[Window] | None) -> Bytes:
    """The first and the last unseen frame, one below the other."""
    pictures = list(render_clip(avatar, track, frames=_unseen(track, 2)))
    if windows is not None:
        pictures = [enlarge(picture, window) for picture, window in zip(pictures, windows, strict=True)]
    return rows_of(*([picture] for picture in pictures))


def _unseen(track: Track, most: int) -> list[int]:
    unseen = track.held_out()[1]
    return [int(unseen[place]) for place in spread(len(unseen), most)]
