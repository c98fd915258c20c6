"""What a page draws itself: avatars on unseen frames beside the truth, codes side by side, what was borrowed.

Legend: S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator

from pegasus_ray.avatar.model import Avatar
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.pipeline.evaluate import evaluate_avatar
from pegasus_ray.pipeline.render import render_clip
from pegasus_ray.pipeline.results import read_avatar, read_generative, read_track
from pegasus_ray.pipeline.transfer import dressed
from pegasus_ray.schemas.manifests import Kind, Manifest
from pegasus_ray.schemas.parts import Attribute
from pegasus_ray.viewer.pictures import rows_of, spread

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


def draw_codes(library: Library, manifest: Manifest) -> Iterator[tuple[tuple[Attribute | None, str], Bytes]]:
    """A generative avatar under its own codes, then each attribute under each source's: two unseen frames one below the other.

    Yields:
        (attribute, key of the avatar that the code was learned from), (2·S, S, 3); (None, "") for its own codes.
    """
    generative = read_generative(library, manifest.key)
    track = read_track(library.location, manifest.input("track"))
    yield (None, ""), _column(dressed(generative, {}), track)
    learned = [(attribute, name) for attribute, block in generative.blocks.items() for name in block.sources[1:]]
    for attribute, name in learned[: CODES - 1]:
        yield (attribute, name), _column(dressed(generative, {attribute: name}), track)


def draw_transfer(library: Library, manifest: Manifest) -> Bytes:
    """A new user's avatar as it is, and below it wearing what was borrowed, on unseen frames."""
    track = read_track(library.location, manifest.input("track"))
    unseen = track.held_out()[1]
    frames = [int(unseen[place]) for place in spread(len(unseen), 6)]
    before = read_avatar(library, manifest.input("user"))
    after = read_avatar(library, manifest.key, Kind.TRANSFERS)
    return rows_of(*(list(render_clip(avatar, track, frames=frames)) for avatar in (before, after)))


def _column(avatar: Avatar, track: Track) -> Bytes:
    """The first and the last unseen frame, one below the other."""
    unseen = track.held_out()[1]
    frames = [int(unseen[place]) for place in spread(len(unseen), 2)]
    return rows_of(*([picture] for picture in render_clip(avatar, track, frames=frames)))
