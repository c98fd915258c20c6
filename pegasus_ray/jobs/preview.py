"""The picture that a stage stores beside its result."""

from __future__ import annotations

from pegasus_ray.avatar.points.avatar import Avatar
from pegasus_ray.avatar.points.canonical import CanonicalPoints
from pegasus_ray.library.images import encode_png
from pegasus_ray.library.track import Track
from pegasus_ray.stages.render import render_clip

PREVIEW_FILE = "preview.png"
"""Name of the payload file that holds the picture."""


def draw_preview(avatar: Avatar, track: Track, points: CanonicalPoints | None = None) -> bytes:
    """The avatar in the first frame of a track that its fit has not seen, as PNG.

    Args:
        avatar: whom to draw.
        track: gives expression, pose and camera.
        points: what is drawn, for an avatar of networks; by default the avatar's own points.
    """
    _, unseen = track.held_out()
    (picture,) = render_clip(avatar, track, frames=[int(unseen[0])], points=points)
    return encode_png(picture)
