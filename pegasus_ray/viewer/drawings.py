"""Pictures that the report renders itself: avatars beside the truth, learned codes side by side, transfers.

Legend: S side in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pegasus_ray.avatar.borrow.decide import COVERS_SCALP
from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.evaluate.avatar import evaluate_avatar
from pegasus_ray.jobs.results import read_avatar, read_generative, read_track
from pegasus_ray.library.library import Library
from pegasus_ray.library.track import Bytes, Track
from pegasus_ray.schemas.manifests import Kind, Manifest
from pegasus_ray.schemas.parts import Attribute, labels_of
from pegasus_ray.stages.render import render_clip
from pegasus_ray.stages.transfer import dressed
from pegasus_ray.viewer.draw_person import frames_to_draw
from pegasus_ray.viewer.pictures import Window, close_up_windows, enlarge, sheet_of_rows

FACE_LABELS = [label for attribute in Attribute if attribute not in COVERS_SCALP for label in labels_of(attribute.part)]
"""Labels, in a part map, of the attributes that lie in the face."""
MAX_CODES = 24
"""Greatest number of codes of a generative avatar on a page."""


def draw_avatar(library: Library, manifest: Manifest) -> tuple[Bytes, dict[str, float | int]]:
    """Draw unseen frames, the truth above and the avatar below, and measure the avatar as `evaluate avatar` does.

    Raises:
        PegasusError: if the avatar or its track cannot be read.
    """
    track = read_track(library.location, manifest.input("track"))
    score, sheet = evaluate_avatar(track, read_avatar(library, manifest.key))
    return sheet, {"psnr": score.psnr, "ssim": score.ssim, "psnr_face": score.psnr_face}


def draw_codes(library: Library, manifest: Manifest) -> Iterator[tuple[str, str, Bytes]]:
    """Draw a generative avatar under its own codes and under each code that it has learned.

    First come the attributes that cover the scalp, then those of the face, for which the face alone is shown. The avatar
    under its own codes comes before each of the two groups, before the second only if there is a code in it.

    Yields:
        attribute, key of the avatar that the code was learned from, and two unseen frames one below the other,
        (2·S, S, 3). Attribute and key are empty for its own codes.
    """
    generative = read_generative(library, manifest.key)
    track = read_track(library.location, manifest.input("track"))
    unseen = frames_to_draw(track, unseen=True, most=2)
    faces = close_up_windows(np.isin(track.select(unseen).parts, FACE_LABELS), margin=0.6)
    learned = [(attribute, name) for attribute, block in generative.blocks.items() for name in block.sources[1:]]
    for attributes, windows in ((COVERS_SCALP, None), (set(Attribute) - set(COVERS_SCALP), faces)):
        chosen = [(attribute, name) for attribute, name in learned[:MAX_CODES] if attribute in attributes]
        if chosen or windows is None:
            yield "", "", _column(dressed(generative, {}), track, windows)
        for attribute, name in chosen:
            yield attribute.value, name, _column(dressed(generative, {attribute: name}), track, windows)


def draw_transfer(library: Library, manifest: Manifest) -> Bytes:
    """Draw unseen frames with the user's own avatar above, and the avatar that wears the borrowed attributes below."""
    track = read_track(library.location, manifest.input("track"))
    frames = frames_to_draw(track, unseen=True, most=6)
    before = read_avatar(library, manifest.input("user"))
    after = read_avatar(library, manifest.key, Kind.TRANSFERS)
    return sheet_of_rows(*(list(render_clip(avatar, track, frames=frames)) for avatar in (before, after)))


def _column(avatar: Avatar, track: Track, windows: Sequence[Window] | None) -> Bytes:
    """The first and the last unseen frame, one below the other; with windows, an enlarged part of each."""
    pictures = list(render_clip(avatar, track, frames=frames_to_draw(track, unseen=True, most=2)))
    if windows is not None:
        pictures = [enlarge(picture, window) for picture, window in zip(pictures, windows, strict=True)]
    return sheet_of_rows(*([picture] for picture in pictures))
